"""Every pair of settings works together, judged by an oracle of its own, or is refused and listed on a page."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from settings_table import PAIRS, QUERY, REFUSED, SETTINGS, Case, candidates, count_words

from secondpass import Candidate, ContextBudget, Kept, Ranking, Reason, ReciprocalRank, WeightedSum, langchain
from secondpass.errors import ConfigurationError
from secondpass.ranking import Ranked
from secondpass.records import Score, Unscored

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "python.md"
DEFAULTS: dict[str, Any] = {"policy": "fill", "duplicates": "exact", "near": 0.7, "order": "relevance"}


def cases(pair: tuple[str, str]) -> Iterator[Case]:
    """Yield each combination of a pair's values."""
    given = candidates(" ".join(pair))
    for values in product(*(SETTINGS[name].values.values() for name in pair)):
        yield Case(dict(zip(pair, values, strict=True)), given)


def refused_on_the_page() -> set[frozenset[str]]:
    """Return the pairs of the page's table of what is refused."""
    rows = re.findall(r"^\| `(\w+)[^|]*\| `(\w+)[^|]*\|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {frozenset(row) for row in rows}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_each_pair_of_settings_works_together(pair: tuple[str, str]) -> None:
    """Both settings have their effect, in plain Python and in both integrations, or the pair is refused."""
    for case in cases(pair):
        try:
            rankings = {interface: case.rank(interface) for interface in case.interfaces}
        except ConfigurationError:
            assert frozenset(pair) in refused_on_the_page(), f"{case.settings} is refused, and not on {PAGE.name}"
            continue
        for interface, ranking in rankings.items():
            problems = list(wrong(ranking, case.complete, case.candidates))
            assert not problems, f"{interface}, {dict(case.settings)}: {'; '.join(problems)}"
        if {"python", "langchain"} <= rankings.keys():
            assert summary(rankings["python"]) == summary(rankings["langchain"]), dict(case.settings)


def test_the_page_lists_every_refused_pair_and_no_other() -> None:
    """At most ten pairs are refused; each of those that the page lists is."""
    listed = refused_on_the_page()
    assert len(listed) <= 10
    assert listed == {frozenset(pair) for pair in REFUSED}
    for settings in REFUSED.values():
        with pytest.raises(ConfigurationError):
            langchain.SecondPassRerank(**settings)


def summary(ranking: Ranking) -> list[tuple[int, str]]:
    """Return what was kept, in reading order."""
    return [(kept.index, kept.text) for kept in ranking]


def wrong(ranking: Ranking, settings: dict[str, Any], given: Sequence[Candidate]) -> Iterator[str]:
    """Yield what is wrong with a ranking."""
    settings = DEFAULTS | settings
    everything: list[Ranked] = [*ranking.kept, *ranking.dropped]
    if sorted(item.index for item in everything) != list(range(len(given))):
        yield "a candidate is missing, or there twice"
    keys = deciding(everything, settings)
    yield from wrong_scores(everything, settings)
    yield from wrong_order(ranking, settings, keys)
    yield from wrong_limits(ranking, settings)
    yield from wrong_context(ranking, settings)
    yield from wrong_duplicates(ranking, settings)
    yield from wrong_choice(ranking, settings, keys)


# What decides


def deciding(items: Sequence[Ranked], settings: dict[str, Any]) -> dict[int, tuple[bool, float, float, int]]:
    """Return by index what orders the candidates: the fused value, else the score; then the first stage."""
    scored = [item for item in items if item.score is not None]
    values = dict(zip([item.index for item in scored], fused(scored, settings.get("fusion")), strict=True))
    keys = {}
    for item in items:
        place = item.outcome.fallback_rank if isinstance(item.outcome, Unscored) else None
        value = values.get(item.index)
        keys[item.index] = (value is None, -(value or 0.0), math.inf if place is None else place, item.rank_before)
    return keys


def fused(items: Sequence[Ranked], fusion: object) -> list[float]:
    """Return the value by which scored candidates are ordered."""
    scores = [item.score or 0.0 for item in items]
    first = [item.candidate.score if item.candidate.score is not None else -item.rank_before for item in items]
    if isinstance(fusion, WeightedSum):
        mixed = zip(to_one(scores), to_one(first), strict=True)
        return [(1 - fusion.alpha) * score + fusion.alpha * other for score, other in mixed]
    if isinstance(fusion, ReciprocalRank):
        ranks = [ranks_of(values, items) for values in (scores, first)]
        return [sum(1 / (fusion.k + of[i]) for of in ranks) for i in range(len(items))]
    return scores


def ranks_of(values: Sequence[float], items: Sequence[Ranked]) -> dict[int, int]:
    order = sorted(range(len(items)), key=lambda place: (-values[place], items[place].rank_before))
    return {place: rank for rank, place in enumerate(order, start=1)}


def to_one(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [0.5 if high == low else (value - low) / (high - low) for value in values]


def overlap(text: str) -> float:
    words = set(QUERY.split())
    return len(words & set(re.findall(r"\w+", text.casefold()))) / len(words)


# The rules


def wrong_scores(items: Sequence[Ranked], settings: dict[str, Any]) -> Iterator[str]:
    """Each score is that of the text that the model reads, or is pooled from those of its windows."""
    windows = settings.get("windows")
    for item in items:
        if not isinstance(item.outcome, Score):
            continue
        values = sorted((window.value for window in item.outcome.windows), reverse=True)
        if not values:
            expected = overlap(item.candidate.text)
        elif windows is not None and windows.pooling == "mean":
            best = values[: windows.mean_of]
            expected = sum(best) / len(best)
        else:
            expected = values[0]
        if not math.isclose(item.outcome.value, expected):
            yield f"the score of {item.index} is {item.outcome.value}, not {expected}"
    if settings.get("deadline_ms") == 0.0 and any(item.score is not None for item in items):
        yield "there are scores although the deadline had passed"


def wrong_order(ranking: Ranking, settings: dict[str, Any], keys: dict[int, Any]) -> Iterator[str]:
    """Ranks follow what decides; the reading order is the one that was asked for."""
    by_rank = sorted(ranking.kept, key=lambda kept: kept.rank)
    expected = sorted(map(index, by_rank), key=keys.__getitem__)
    if not settings.get("diversity") and [kept.index for kept in by_rank] != expected:
        yield f"the ranks don't follow what decides: {[(k.index, keys[k.index]) for k in by_rank]}"
    read = [kept.index for kept in ranking.kept]
    if settings["order"] == "relevance" and read != [kept.index for kept in by_rank]:
        yield "the reading order isn't that of relevance"
    if settings["order"] == "original" and read != [k.index for k in sorted(by_rank, key=lambda k: k.rank_before)]:
        yield "the reading order isn't the original one"
    if settings["order"] == "ends" and read and read[0] != by_rank[0].index:
        yield "the best isn't read first"


def index(item: Ranked) -> int:
    return item.index


def wrong_limits(ranking: Ranking, settings: dict[str, Any]) -> Iterator[str]:
    """No more than the limits are kept, without any 5; nothing improbable but what ``min_keep`` allows."""
    limit = settings.get("top_n", None if {"budget", "min_probability"} & settings.keys() else 5)
    if limit is not None and len(ranking.kept) > limit:
        yield f"{len(ranking.kept)} are kept, not {limit}"
    least = settings.get("min_probability", 0.0)
    improbable = [kept.index for kept in ranking.kept if kept.probability is not None and kept.probability < least]
    if len(improbable) > settings.get("min_keep", 0):
        yield f"{improbable} are below the minimum probability"
    sources = Counter(kept.candidate.source for kept in ranking.kept if kept.candidate.source)
    if max(sources.values(), default=0) > settings.get("max_per_source", math.inf):
        yield f"{sources} are kept of one source"
    excluded = [kept.candidate.id for kept in ranking.kept if kept.candidate.id in settings.get("exclude", ())]
    if excluded:
        yield f"{excluded} are excluded, and kept"


def wrong_context(ranking: Ranking, settings: dict[str, Any]) -> Iterator[str]:
    """Compare the context: the kept texts in the budget's template, within it; each text is what the candidate says."""
    budget = settings.get("budget")
    if isinstance(budget, ContextBudget):
        context = budget.separator.join(
            str(budget.template).format_map({**kept.candidate.metadata, "text": kept.text}) for kept in ranking.kept
        )
        if (ranking.context, ranking.tokens) != (context, count_words(context)):
            yield "the context isn't the kept texts, or its tokens aren't its own"
        if count_words(ranking.context) > budget.max_tokens:
            yield f"{count_words(ranking.context)} tokens exceed the budget of {budget.max_tokens}"
    for kept in ranking.kept:
        reading = kept.candidate.reading
        parts = [reading[start:end] for start, end in kept.spans]
        if kept.cut == 0 and kept.text != reading:
            yield f"{kept.index} isn't cut, and isn't its text"
        if any(part not in kept.text for part in parts) or re.sub(r"\W", "", "".join(parts)) not in letters(kept):
            yield f"{kept.index} isn't verbatim: {kept.text!r:.80}"
        if kept.cut and not holds_best_window(kept):
            yield f"the best window of {kept.index} was cut away: {kept.spans}, {kept.best_window}"


def letters(kept: Kept) -> str:
    return re.sub(r"\W", "", kept.text)


def holds_best_window(kept: Kept) -> bool:
    """Return whether a part of the best window is in the kept text; a cut may shorten it."""
    window = kept.best_window
    if window is None:
        return True
    [best] = kept.candidate.reading_spans([(window.start, window.end)])
    return best is None or any(start < best[1] and best[0] < end for start, end in kept.spans)


def wrong_duplicates(ranking: Ranking, settings: dict[str, Any]) -> Iterator[str]:
    """No two are kept that the rule calls the same, and what is dropped as a copy has its better one among the kept."""
    if settings["duplicates"] == "keep":
        yield from (f"{item.index} was dropped" for item in ranking.dropped if item.reason is Reason.DUPLICATE)
        return
    pairs = combinations(ranking.kept, 2)
    yield from (f"{a.index} and {b.index} are the same, and both kept" for a, b in pairs if same(a, b, settings))
    by_candidate = {id(item.candidate): item for item in (*ranking.kept, *ranking.dropped)}
    for item in ranking.dropped:
        if item.reason is Reason.DUPLICATE:
            better = by_candidate[id(item.because_of)]
            if not isinstance(better, Kept):
                yield f"{item.index} was dropped for {better.index}, which isn't kept"
            if not same(item, better, settings):
                yield f"{item.index} was dropped for {better.index}, which is another text"


def same(one: Ranked, other: Ranked, settings: dict[str, Any]) -> bool:
    """Return whether the LLM and the model read the same of two, or nearly the same texts."""
    if identity(one, settings) == identity(other, settings):
        return True
    if settings["duplicates"] != "near":
        return False
    first, second = (shingles(item.candidate.reading) for item in (one, other))
    digits = [re.findall(r"\d+", f"{item.candidate.reading} {identity(item, settings)[0]}") for item in (one, other)]
    return digits[0] == digits[1] and len(first & second) >= settings["near"] * len(first | second)


def identity(item: Ranked, settings: dict[str, Any]) -> tuple[str, str]:
    """Return what the LLM reads of a candidate, and what the model reads."""
    budget = settings.get("budget")
    template = str(budget.template) if isinstance(budget, ContextBudget) else "{text}"
    read = template.format_map({**item.candidate.metadata, "text": item.candidate.reading})
    return read, item.candidate.text


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return set(zip(words, words[1:], words[2:], strict=False))


def wrong_choice(ranking: Ranking, settings: dict[str, Any], keys: dict[int, Any]) -> Iterator[str]:
    """Nothing better was left out for a limit: it was too many, or it didn't fit beside what is better still."""
    if settings.get("diversity"):
        return
    worst = max((keys[kept.index] for kept in ranking.kept), default=None)
    left_out = [item for item in ranking.dropped if worst is not None and keys[item.index] < worst]
    for item in left_out:
        if item.reason is Reason.OVER_TOP_N or (item.reason is Reason.OVER_BUDGET and settings["policy"] == "prefix"):
            yield f"{item.index} was left out as {item.reason}, and a worse one kept"
        if item.reason is Reason.OVER_BUDGET and settings["policy"] == "fill":
            budget = settings["budget"]
            better = [kept for kept in ranking.kept if keys[kept.index] < keys[item.index]]
            texts = [identity(other, settings)[0] for other in (*better, item)]
            if count_words(budget.separator.join(texts)) <= budget.max_tokens:
                yield f"{item.index} fits beside what is better, and was left out"
    passed = sorted(filter(eligible, (*ranking.kept, *ranking.dropped)), key=lambda item: keys[item.index])
    scored = bool(passed) and passed[0].score is not None  # without scores there is no best window to cut around
    cuts = settings["policy"] == "truncate" or (settings["policy"] == "extract" and scored)
    if passed and cuts and ranking.kept and passed[0].index not in map(index, ranking.kept):
        yield f"{passed[0].index} is the best, and nothing of it was kept"


def eligible(item: Ranked) -> bool:
    """Return whether a candidate passed everything but the limits."""
    reason = getattr(item, "reason", None)
    return reason in (None, Reason.OVER_TOP_N, Reason.OVER_BUDGET)

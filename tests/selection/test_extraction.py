"""Extraction: which windows fill the budget, what the extracts look like, and what becomes of the other candidates."""

from collections import Counter as Multiset
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import COUNTERS, any_text, readable_text, sentences
from worlds import count_words, judge

from secondpass import Candidate, ContextBudget, OverlapScorer, Reason, Reranker, Selection
from secondpass.ranking import Ranked
from secondpass.records import LOGIT, Score, Unscored, UnscoredReason, Window
from secondpass.scoring.window_cutting import cut_windows
from secondpass.selection.extraction import GAP, excerpt, extract, placed_windows
from secondpass.selection.order import ORDERS, Order
from secondpass.selection.packing import POLICIES, Packed, Policy, pack
from secondpass.selection.select import select

FOX = "Foxes dig dens. They eat mice. Their fur is red. They sleep by day. "  # four sentences: 3, 3, 4 and 4 words
OWL = "Owls hunt at night. They fly without noise. Their eyes are large. "  # three sentences of 4 words


def windowed(text: str | Candidate, *logits: float, rank: int = 1, limit: int = 4) -> Ranked:
    """Return a candidate with the scores of its windows, of four words each; the best one counts."""
    candidate = text if isinstance(text, Candidate) else Candidate(text)
    spans, _ = cut_windows(candidate.text, limit, 0.0, lambda texts: [count_words(one) for one in texts])
    assert len(spans) == len(logits)
    windows = tuple(Window(*span, value, LOGIT.probability(value)) for span, value in zip(spans, logits, strict=True))
    best = max(logits)
    return Ranked(candidate, rank - 1, Score(best, windows=windows), LOGIT.probability(best), None, rank)


def extracts(packed: Packed) -> list[str]:
    """Return the kept texts in reading order."""
    return [item.text for item in packed.kept]


def words(max_tokens: int, **layout: str) -> ContextBudget:
    """Return a budget in words."""
    return ContextBudget(max_tokens, counter=count_words, **layout)


def test_the_best_windows_of_all_candidates_are_taken() -> None:
    """Two windows of the first candidate are less probable than one of the second, which is taken before them."""
    ranked = [windowed(FOX, -3.0, 4.0, -3.0, -3.0), windowed(OWL, -5.0, 3.0, -5.0, rank=2)]
    packed = extract(ranked, words(8))
    assert extracts(packed) == ["They eat mice.", "They fly without noise."]
    assert [item.spans for item in packed.kept] == [((16, 30),), ((20, 43),)]


def test_neighbours_are_merged_and_gaps_are_marked() -> None:
    """Adjacent windows become one extract, and what is left out between others is marked, in reading order."""
    packed = extract([windowed(FOX, 1.0, -9.0, 2.0, 3.0)], words(12))
    assert extracts(packed) == [f"Foxes dig dens.{GAP}Their fur is red. They sleep by day."]
    assert packed.kept[0].spans == ((0, 15), (31, 67))
    assert packed.kept[0].cut == count_words(FOX) - 12 == 2


def test_overlapping_windows_repeat_nothing() -> None:
    """Of two windows that share a sentence, the context has it once."""
    windows = (Window(0, 31, 2.0, 0.9), Window(16, 49, 2.0, 0.9))
    ranked = [Ranked(Candidate(FOX), 0, Score(2.0, windows=windows), 0.9, None, 1)]
    assert extracts(extract(ranked, words(12))) == ["Foxes dig dens. They eat mice. Their fur is red."]


def test_a_candidate_that_fits_is_kept_whole() -> None:
    """Where all windows of a candidate are taken its text is the candidate's own, and nothing is cut."""
    packed = extract([windowed(FOX, 1.0, 1.0, 1.0, 1.0)], words(20))
    assert (extracts(packed), packed.kept[0].cut, packed.kept[0].spans) == ([FOX], 0, ((0, len(FOX)),))


def test_a_copy_of_a_window_comes_after_something_new() -> None:
    """Where the budget is scarce a repeated window is worth less than a weaker one with another text."""
    copy, other = windowed(FOX + " ", 3.0, -9.0, -9.0, -9.0, rank=2), windowed(OWL, 0.5, -9.0, -9.0, rank=3)
    packed = extract([windowed(FOX, 3.1, -9.0, -9.0, -9.0), copy, other], words(7))
    assert extracts(packed) == ["Foxes dig dens.", "Owls hunt at night."]


def test_repetition_costs_nothing_where_everything_fits() -> None:
    """With a budget as large as the pool, copies stay: dropping them is the task of ``duplicates``."""
    packed = extract([windowed(FOX, 3.0, 0.0, 0.0, 0.0), windowed(FOX + " ", 3.0, 0.0, 0.0, 0.0, rank=2)], words(40))
    assert extracts(packed) == [FOX, FOX + " "]


def test_similarity_works_without_blanks() -> None:
    """In a script without blanks, shingles are of characters."""
    texts = (
        "狐狸在森林里挖洞白天睡觉晚上吃老鼠。",
        "狐狸在森林里挖洞白天睡觉晚上吃老鼠！",
        "猫头鹰的眼睛很大夜里飞行没有声音。",
    )
    ranked = judge(*texts, values=[3.0, 2.9, 2.0])
    assert extracts(extract(ranked, ContextBudget(40, counter=len))) == [texts[0], texts[2]]


def test_the_best_window_is_never_left_out_for_weaker_ones() -> None:
    """A long best window is taken although several shorter ones would fit instead."""
    best = windowed("one two three four five six seven.", 2.0, limit=9)
    weaker = [windowed(f"Word {number}.", 1.9, rank=number) for number in range(2, 6)]
    assert extracts(extract([best, *weaker], words(8))) == ["one two three four five six seven."]


def test_the_fused_value_decides() -> None:
    """With fusion, the best window is that of the candidate with the highest fused value, not the most probable one."""
    fox, owl = windowed(FOX, -9.0, 4.0, -9.0, -9.0, rank=2), windowed(OWL, -3.0, -1.0, -3.0)
    ranked = [replace(owl, fused=0.9), replace(fox, fused=0.1)]
    assert extracts(extract(ranked, words(4))) == ["They fly without noise."]


def test_a_near_duplicate_of_a_kept_candidate_is_dropped_as_such() -> None:
    """Where near-duplicates are dropped, no window of one is taken, and the record names the candidate it repeats."""
    ranked = [windowed(FOX, 3.0, 1.0, 1.0, 1.0), windowed(f"{FOX}Yes. ", 2.9, 1.0, 1.0, 1.0, -9.0, rank=2)]
    selected = select(ranked, Selection(budget=words(99), policy="extract", duplicates="near"))
    (dropped,) = selected.dropped
    assert (dropped.reason, dropped.because_of) == (Reason.DUPLICATE, ranked[0].candidate)


@pytest.mark.parametrize(("diversity", "context"), [(0.0, "the red fox runs"), (0.9, "two bees fly home")])
def test_diversity_weighs_repetition(diversity: float, context: str) -> None:
    """The second text is nearly the first; with diversity a weaker one that differs is taken instead."""
    ranked = judge("the red fox runs", "the red fox runs far", "two bees fly home", values=[3.0, 2.0, 1.0])
    selection = Selection(budget=words(12), policy="extract", diversity=diversity, top_n=2)
    assert context in [item.text for item in select([ranked[1], ranked[0], ranked[2]], selection).kept]


def test_filling_goes_on_while_anything_fits() -> None:
    """A candidate that as a whole is worth more than any other choice doesn't end the filling."""
    rival = windowed("one two three four five six seven eight nine ten eleven.", 2.95, rank=2, limit=11)
    packed = extract([windowed(FOX, 3.0, 2.9, 2.8, 2.7), rival, *judge("", "a hen", values=[0, -1.0])[1:]], words(16))
    assert packed.tokens == 16


def test_a_header_is_part_of_every_extract() -> None:
    """The header of a node, such as its file's name, stays in front of what is extracted, and is counted."""
    header = "file: fox.txt\n\n"
    candidate = Candidate(FOX, prompt_text=header + FOX, header_length=len(header))
    packed = extract([windowed(candidate, -9.0, 3.0, -9.0, -9.0)], words(6))
    assert packed.context == f"{header}They eat mice."
    assert packed.kept[0].spans == ((0, 15), (31, 45))
    assert packed.kept[0].body_spans == [(16, 30)]
    assert not extract([windowed(candidate, -9.0, 3.0, -9.0, -9.0)], words(4)).kept


def test_a_beginning_with_a_header_is_one_span() -> None:
    """Header and first window are one part of the text."""
    candidate = Candidate(FOX, prompt_text="file: fox.txt\n\n" + FOX, header_length=15)
    packed = extract([windowed(candidate, 3.0, -9.0, -9.0, -9.0)], words(6))
    assert packed.kept[0].spans == ((0, 30),)


def test_a_candidate_whose_prompt_text_is_another_stays_whole() -> None:
    """Where the LLM reads another text than the model, there is nothing to extract."""
    candidate = Candidate(FOX, prompt_text="A summary about foxes")
    packed = extract([windowed(candidate, -9.0, 3.0, -9.0, -9.0)], words(6))
    assert extracts(packed) == ["A summary about foxes"]


def test_candidates_scored_as_a_whole_are_one_window() -> None:
    """A scorer that gives no windows is extracted from by whole candidates."""
    assert extracts(extract(judge("the red fox", "the owl"), words(3))) == ["the red fox"]


def test_candidates_without_a_score_come_last() -> None:
    """What a deadline left unscored is kept as a whole, after all windows."""
    late = Unscored(UnscoredReason.DEADLINE)
    ranked = [*judge("the red fox", values=[-9.0]), *(judge("", "an owl", "a hen", values=[0.0, late, late])[1:])]
    packed = extract(ranked, words(5))
    assert extracts(packed) == ["the red fox", "an owl"]
    assert [item.candidate.text for item in packed.dropped] == ["a hen"]


def test_a_scale_without_probabilities_is_scaled_over_the_pool() -> None:
    """Raw values of an unknown scale decide as well."""
    windows = (Window(0, 16, 100.0), Window(16, 31, 900.0), Window(31, 49, 500.0), Window(49, 68, -3.0))
    ranked = [Ranked(Candidate(FOX), 0, Score(900.0, windows=windows), None, None, 1)]
    assert extracts(extract(ranked, words(8))) == ["They eat mice. Their fur is red."]


def test_top_n_limits_the_candidates() -> None:
    """Windows are taken from at most ``top_n`` candidates; the others say so."""
    ranked = [windowed(FOX, 3.0, 1.0, 1.0, 1.0), windowed(OWL, 2.0, 2.0, 2.0, rank=2)]
    packed = extract(ranked, words(100), top_n=1)
    assert (extracts(packed), packed.dropped[0].reason) == ([FOX], Reason.OVER_TOP_N)


def test_windows_below_the_threshold_are_left_out() -> None:
    """A minimum probability holds for windows too, and the rest of the budget stays free."""
    ranked = [windowed(FOX, 3.0, -3.0, 1.0, -3.0), windowed(OWL, -4.0, -4.0, -2.0, rank=2)]
    selection = Selection(budget=words(100), policy="extract", min_probability=0.5, min_keep=2)
    kept = select(ranked, selection).kept
    assert [item.text for item in kept] == [f"Foxes dig dens.{GAP}Their fur is red.", "Their eyes are large."]


def test_what_is_left_out_says_what_it_needs() -> None:
    """A dropped candidate has the size of its best window, and what was left."""
    packed = extract([windowed(FOX, 3.0, -9.0, -9.0, -9.0), windowed(OWL, 1.0, -9.0, -9.0, rank=2)], words(6))
    (dropped,) = packed.dropped
    assert (dropped.reason, dropped.detail) == (Reason.OVER_BUDGET, "its best window: 4 tokens, 3 left")


def test_a_window_far_too_long_isnt_counted() -> None:
    """A text of millions of characters is dropped by its length."""
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return count_words(text)

    packed = extract(judge("word " * 1_000_000, "the red fox"), ContextBudget(5, counter=count))
    assert packed.dropped[0].detail == "its best window: 5000000 characters, 5 left"
    assert max(map(len, counted)) < 10_000


def test_a_budget_smaller_than_any_window_gets_a_beginning() -> None:
    """Where no window fits, the best one's beginning is kept, as with ``"truncate"``."""
    packed = pack([windowed("One two three four. Five six seven eight.", 1.0, 2.0)], words(3), "extract")
    assert extracts(packed) == ["Five six seven"]


@st.composite
def pools(draw: st.DrawFn) -> list[Ranked]:
    """Draw candidates, best first, with windows, without, or without a score."""
    ranked = []
    for rank in range(1, draw(st.integers(0, 5)) + 1):
        text = draw(st.one_of(sentences, any_text, readable_text))
        header = draw(st.sampled_from(["", "a: b\n\n", "long title: of a file\n"]))
        prompt = draw(st.sampled_from([None, header + text, text.strip(), "another text"]))
        length = len(header) if prompt and header and prompt.startswith(header) else 0
        candidate = Candidate(text, prompt_text=prompt, header_length=length)
        spans, _ = cut_windows(
            text, draw(st.integers(1, 6)), draw(st.sampled_from([0.0, 0.5])), lambda many: [*map(count_words, many)]
        )
        values = draw(st.lists(st.floats(-9, 9), min_size=len(spans), max_size=len(spans)))
        known = draw(st.booleans())
        windows = tuple(
            Window(*span, value, LOGIT.probability(value) if known else None)
            for span, value in zip(spans, values, strict=True)
        )
        outcome = draw(
            st.sampled_from(
                [Score(max(values), windows=windows), Score(max(values)), Unscored(UnscoredReason.DEADLINE)]
            )
        )
        ranked.append(Ranked(candidate, rank - 1, outcome, None, None, rank))
    return ranked


layouts = {
    "separator": st.sampled_from(["\n\n", "", " | "]),
    "template": st.sampled_from(["{text}", "[{index}] {text}\n", "{text} {text}"]),
}


@pytest.mark.parametrize("name", COUNTERS)
@given(pool=pools(), max_tokens=st.integers(0, 40), **layouts, order=st.sampled_from(ORDERS), top_n=st.integers(1, 9))
def test_the_context_never_exceeds_the_budget(
    name: str, pool: Sequence[Ranked], max_tokens: int, separator: str, template: str, order: Order, top_n: int
) -> None:
    """Whatever the texts, windows, layout and counter, the joined text was counted and stays within the budget."""
    layout = ContextBudget(max_tokens, counter=COUNTERS[name], separator=separator, template=template)
    packed = pack(pool, layout, "extract", order, top_n)
    assert packed.context == layout.join([(item.candidate, item.text) for item in packed.kept])
    assert not packed.kept or layout.counting.count(packed.context) == packed.tokens <= max_tokens
    assert len(packed.kept) <= top_n


@given(pool=pools(), max_tokens=st.integers(0, 60), name=st.sampled_from(list(COUNTERS)))
def test_every_candidate_is_kept_or_dropped_once(pool: Sequence[Ranked], max_tokens: int, name: str) -> None:
    """No candidate is lost, however many of its windows are taken."""
    packed = extract(pool, ContextBudget(max_tokens, counter=COUNTERS[name]))
    came_out = [id(item.candidate) for item in (*packed.kept, *packed.dropped)]
    assert Multiset(came_out) == Multiset(id(item.candidate) for item in pool)


@given(pool=pools(), max_tokens=st.integers(0, 60))
def test_extracts_are_verbatim(pool: Sequence[Ranked], max_tokens: int) -> None:
    """The text is its spans of the prompt text, in rising order, and nothing else but marked gaps."""
    for kept in extract(pool, ContextBudget(max_tokens, counter=count_words)).kept:
        parts = [kept.candidate.reading[start:end] for start, end in kept.spans]
        assert "".join(parts) == kept.text.replace(GAP, "")
        assert all(before[1] <= after[0] for before, after in zip(kept.spans, kept.spans[1:], strict=False))


@given(pool=pools(), max_tokens=st.integers(1, 30))
def test_the_best_window_that_fits_is_in_the_context(pool: Sequence[Ranked], max_tokens: int) -> None:
    """The strongest window of those that fit alone is never left out."""
    plain = [item for item in pool if item.best_window and item.candidate.text == item.candidate.reading]
    plain = [item for item in plain if item.best_window and item.best_window.probability is not None]
    parts = [
        (window.value, part)
        for item in plain
        if isinstance(item.outcome, Score)
        for window in item.outcome.windows
        if (part := item.candidate.text[window.start : window.end].strip()) and count_words(part) <= max_tokens
    ]
    highest = max((value for value, _ in parts), default=None)
    context = extract(plain, words(max_tokens)).context
    assert not parts or any(part in context for value, part in parts if value == highest)


@given(pool=pools(), max_tokens=st.integers(1, 30), fused=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_the_first_extract_is_of_the_best_candidate_that_fits(
    pool: Sequence[Ranked], max_tokens: int, fused: Sequence[float]
) -> None:
    """With fusion, a candidate is passed over for one with a lower fused value only if its best window doesn't fit."""
    scored = [item for item in pool if item.score is not None and not item.candidate.header_length]
    values = sorted(fused, reverse=True)
    ranked = [replace(item, fused=value) for item, value in zip(scored, values, strict=False)]
    kept = {item.rank_before for item in extract(ranked, words(max_tokens)).kept}
    for item in ranked:
        if item.rank_before in kept:
            break
        best = next((span for _, span in placed_windows(item)), (0, len(item.candidate.reading)))
        assert count_words(item.candidate.reading[slice(*best)]) > max_tokens


@given(pool=pools(), max_tokens=st.integers(1, 30), policy=st.sampled_from(POLICIES))
def test_a_candidate_that_is_cut_keeps_its_best_window(pool: Sequence[Ranked], max_tokens: int, policy: Policy) -> None:
    """Whatever the policy, where a cut candidate's best window fits alone, that is in its text."""
    for kept in pack(pool[:1], words(max_tokens), policy).kept:
        for window, span in placed_windows(kept)[:1]:
            alone = excerpt(kept, [span])[0]
            ties = [span for other, span in placed_windows(kept) if other.value == window.value]
            held = any(start <= a and b <= end for a, b in ties for start, end in kept.spans)
            assert held or count_words(alone) > max_tokens


def test_a_budget_of_nothing_keeps_nothing() -> None:
    """Where the history has taken all tokens, every candidate is dropped, and the ranking says that nothing fits."""
    text = "The adult flea lives for months. Fleas jump far. " * 8
    selection = Selection(policy="extract", budget=ContextBudget(0))
    ranking = Reranker(OverlapScorer(), selection=selection).rerank("how long does a flea live", [text])
    assert (len(ranking), ranking.tokens) == (0, 0)
    assert "nothing_fits" in ranking.stages[-1].facts

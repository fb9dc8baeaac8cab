"""Strategies of the property tests: texts, token counters, candidates, outcomes, selections, budgets."""

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from worlds import count_words

from secondpass import (
    Candidate,
    ContextBudget,
    CoveredMass,
    LargestGap,
    ReciprocalRank,
    Selection,
    WeightedSum,
)
from secondpass.records import Score, Unscored, UnscoredReason
from secondpass.selection.order import ORDERS
from secondpass.selection.packing import POLICIES
from secondpass.selection.select import DUPLICATES

any_text = st.text(st.characters(exclude_categories=()), max_size=60)
"""Every code point there is, lone surrogates and NUL among them."""

sentences = st.lists(
    st.sampled_from(
        ["The fox ran. ", "Is it so? ", "No!", " Dr. Who said 3.5 km. ", "\n\n", "word ", "句子。", "…", "\t"]
    ),
    max_size=12,
).map("".join)
"""Texts with sentences, lines and blanks."""

readable_text = st.one_of(sentences, any_text).filter(lambda text: bool(text.strip()))

finite = st.floats(-50, 50).map(lambda value: round(value, 3))
"""Logits as models give them; few enough digits that no rescaling makes two of them equal."""

Counter = Callable[[str], int]

COUNTERS: dict[str, Counter | None] = {
    "estimate": None,
    "words": count_words,
    "characters": len,
    "pairs of characters": lambda text: math.ceil(len(text) / 2),
    "constant overhead of 3": lambda text: count_words(text) + 3,
    "joined more than the sum": lambda text: count_words(text) + text.count("\n") ** 2 + len(text) // 10,
    "joined less than the sum": lambda text: math.isqrt(len(text)),
    "bytes": lambda text: len(text.encode()),
    "lines": lambda text: len(text.splitlines()),
    "arbitrary": lambda text: (len(text) * 7919) % 23,
}


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """Draw a candidate, with or without id, score, rank, metadata and prompt text."""
    return Candidate(
        draw(st.one_of(sentences, any_text, st.sampled_from(["", "  ", "same text"]))),
        id=draw(st.none() | st.text("abc", min_size=1, max_size=3)),
        score=draw(st.none() | finite | st.just(math.nan)),
        rank=draw(st.none() | st.integers(1, 9)),
        signals={"bm25": draw(finite)},
        source=draw(st.sampled_from([None, "store", "docs", "tickets"])),
        metadata=draw(st.just({}) | st.fixed_dictionaries({"title": st.none() | any_text})),
        prompt_text=draw(st.none() | sentences),
    )


outcomes: st.SearchStrategy[float | Score | Unscored] = st.one_of(
    finite,
    st.builds(Unscored, st.sampled_from(UnscoredReason)),
)

budgets = st.builds(
    ContextBudget,
    max_tokens=st.integers(0, 60),
    counter=st.sampled_from(list(COUNTERS.values())),
    separator=st.sampled_from(["\n\n", "", " | ", "\n---\n"]),
    template=st.sampled_from(
        [
            "{text}",
            "[{index}] {text}",
            "<doc id={id} from={source}>\n{text}\n</doc>",
            "{title}: {text}",
            lambda index, text, candidate: f"{candidate.id} {text}" * index,
        ]
    ),
)


def any_selection(**settings: Any) -> Selection:
    """Return a selection, with what goes with its duplicates."""
    return Selection(**settings | ({} if settings["duplicates"] == "near" else {"near": 0.7}))


selections = st.builds(
    any_selection,
    top_n=st.none() | st.integers(1, 6),
    min_probability=st.none() | st.floats(0, 1),
    min_keep=st.integers(0, 3),
    budget=st.none() | budgets,
    policy=st.sampled_from(POLICIES),
    duplicates=st.sampled_from(DUPLICATES),
    near=st.sampled_from([0.3, 0.7, 1.0]),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    adaptive=st.none() | st.builds(LargestGap, st.floats(0, 1)) | st.builds(CoveredMass, st.floats(0.1, 1)),
    order=st.sampled_from(ORDERS),
    max_per_source=st.none() | st.integers(1, 2),
    max_unscored=st.none() | st.integers(0, 2),
)

fusions = st.none() | st.builds(ReciprocalRank) | st.builds(WeightedSum, alpha=st.floats(0, 1))


@st.composite
def excluded(draw: st.DrawFn, items: list[Candidate]) -> list[Candidate | str]:
    """Draw what to exclude: some of the candidates, others, and ids."""
    known = st.sampled_from(items) | candidates() if items else candidates()
    return draw(st.lists(known | st.text("abc", max_size=2), max_size=2))

"""The selection: its settings, and its steps in the road's order."""

from collections import Counter as Multiset

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import candidates, outcomes, selections
from worlds import count_words, judge, reasons, texts

from secondpass import Candidate, ContextBudget, Selection
from secondpass.errors import ConfigurationError
from secondpass.scores import Score, Unscored, UnscoredReason
from secondpass.selection.order import Order
from secondpass.selection.select import select


def words(max_tokens: int) -> ContextBudget:
    return ContextBudget(max_tokens, counter=count_words)


def kept(judged: list[object], **settings: object) -> list[str]:
    """Return the texts that a selection keeps, in reading order."""
    return [item.text for item in select(judged, Selection(**settings)).kept]  # type: ignore[arg-type]


def test_the_default_keeps_everything_best_first() -> None:
    """Without settings all stay, joined by empty lines and uncounted."""
    selected = select(judge("fox", "dog"), Selection())
    assert texts(selected.kept) == ["fox", "dog"]
    assert (selected.context, selected.tokens, selected.dropped) == ("fox\n\ndog", None, ())


def test_the_steps_run_in_their_order() -> None:
    """Invalid, below the threshold, a duplicate, over top-k, over the budget: each step takes its own, nobody twice."""
    invalid = Unscored(UnscoredReason.INVALID)
    judged = judge(
        "best",
        "best ",
        "far too long a text",
        "short",
        "fourth",
        "unlikely",
        "nan",
        values=[5, 4, 3, 2, 1, -9, invalid],
    )
    settings = Selection(min_probability=0.5, top_k=3, budget=words(2))
    selected = select(judged, settings)
    assert texts(selected.kept) == ["best", "short"]
    assert reasons(selected.dropped) == {
        "best ": "duplicate",
        "far too long a text": "over budget",
        "fourth": "over top-k",
        "unlikely": "below threshold",
        "nan": "invalid",
    }


def test_dropped_candidates_come_best_first() -> None:
    """Whatever step dropped them, the dropped stand in the order of their scores."""
    judged = judge("a", "b", "a ", "c", "d", values=[5, 4, 3, 2, -9])
    selected = select(judged, Selection(min_probability=0.5, top_k=2))
    assert [(item.candidate.text, str(item.reason)) for item in selected.dropped] == [
        ("a ", "duplicate"),
        ("c", "over top-k"),
        ("d", "below threshold"),
    ]


def test_duplicates_take_no_place_of_the_top_k() -> None:
    """Copies are dropped before the best so many are counted."""
    assert kept(judge("fox", "fox", "dog"), top_k=2) == ["fox", "dog"]  # type: ignore[arg-type]


def test_a_duplicate_names_who_stands_for_it() -> None:
    """The report of a dropped copy leads to the kept one."""
    fox, copy = Candidate("fox", id="fox"), Candidate("fox", id="copy")
    selected = select(judge(fox, copy), Selection())
    assert [item.because_of for item in selected.dropped] == [fox]


def test_duplicates_can_be_kept() -> None:
    """``duplicates="keep"`` doesn't look at the texts."""
    assert kept(judge("fox", "fox"), duplicates="keep") == ["fox", "fox"]  # type: ignore[arg-type]


def test_top_k_keeps_the_best() -> None:
    """The best so many stay; a top-k beyond their number changes nothing."""
    assert kept(judge("a", "b", "c"), top_k=2) == ["a", "b"]  # type: ignore[arg-type]
    assert kept(judge("a", "b", "c"), top_k=99) == ["a", "b", "c"]  # type: ignore[arg-type]


def test_min_keep_is_stronger_than_the_threshold() -> None:
    """The best one stays although nothing reaches the threshold."""
    judged = judge("a", "b", values=[-5, -6])
    assert kept(judged, min_probability=0.9, min_keep=1) == ["a"]  # type: ignore[arg-type]


def test_the_budget_is_stronger_than_min_keep() -> None:
    """What doesn't fit isn't kept, even if nothing is then kept at all."""
    judged = judge("three little words", values=[-5])
    selected = select(judged, Selection(min_probability=0.9, min_keep=1, budget=words(2)))
    assert selected.kept == ()
    assert reasons(selected.dropped) == {"three little words": "over budget"}


def test_top_k_is_stronger_than_min_keep() -> None:
    """At most so many are kept, however many the threshold was told to leave."""
    assert kept(judge("a", "b", "c"), top_k=1, min_keep=3) == ["a"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("order", "read"),
    [("relevance", ["a", "b", "c"]), ("original", ["c", "b", "a"]), ("ends", ["a", "c", "b"])],
)
@pytest.mark.parametrize("budget", [None, words(3)], ids=["no budget", "budget"])
def test_the_reading_order_keeps_the_ranks(order: Order, read: list[str], budget: ContextBudget | None) -> None:
    """The reading order moves the texts, and their ranks by relevance move with them."""
    judged = judge("c", "b", "a", values=[1, 2, 3])[::-1]
    selected = select(judged, Selection(order=order, budget=budget))
    assert texts(selected.kept) == read
    assert selected.context == "\n\n".join(read)
    assert {item.text: item.rank for item in selected.kept} == {"a": 1, "b": 2, "c": 3}


def test_a_budget_is_reported() -> None:
    """The facts tell the policy, the tokens, the counter, whether it is exact, and where the number came from."""
    budget = ContextBudget(9, counter=count_words, origin="window 10 - output 1")
    assert select(judge("red fox"), Selection(budget=budget)).facts == {
        "policy": "fill",
        "tokens": 2,
        "max_tokens": 9,
        "counter": "count_words",
        "exact": True,
        "budget": "window 10 - output 1",
    }


def test_a_cut_text_tells_its_span() -> None:
    """What is kept of a cut text is named by its characters."""
    selected = select(judge("One two. Three four."), Selection(budget=words(3), policy="truncate"))
    (item,) = selected.kept
    assert (item.text, item.spans, item.tokens) == ("One two.", ((0, 8),), 2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"top_k": 0}, "top_k must be a whole number from 1"),
        ({"min_probability": 1.5}, "min_probability must be within 0 and 1"),
        ({"min_probability": float("nan")}, "min_probability must be within 0 and 1"),
        ({"min_keep": -1}, "min_keep must be a whole number from 0"),
        ({"budget": 1500}, "budget must be a ContextBudget or None, got 1500"),
        ({"policy": "squeeze"}, "policy must be one of fill, prefix, truncate; got 'squeeze'"),
        ({"duplicates": "some"}, "duplicates must be one of exact, keep; got 'some'"),
        ({"order": "random"}, "order must be one of relevance, original, ends; got 'random'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    """A selection that can't work is a ConfigurationError when it is made."""
    with pytest.raises(ConfigurationError, match=said):
        Selection(**settings)  # type: ignore[arg-type]


@given(world=st.lists(st.tuples(candidates(), outcomes), max_size=7), settings=selections)
def test_nobody_is_lost_and_nobody_invented(
    world: list[tuple[Candidate, float | Score | Unscored]], settings: Selection
) -> None:
    """Whatever the settings, every candidate is kept or dropped, exactly once."""
    found = [candidate for candidate, _ in world]
    judged = judge(*found, values=[outcome for _, outcome in world])  # type: ignore[misc]
    selected = select(judged, settings)
    assert Multiset(id(item.candidate) for item in (*selected.kept, *selected.dropped)) == Multiset(map(id, found))

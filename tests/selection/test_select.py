"""The selection: its settings, and its steps in their order."""

import logging
from collections import Counter as Multiset

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import candidates, outcomes, selections
from worlds import count_words, judge, reasons, texts

from secondpass import Candidate, ContextBudget, CoveredMass, Selection
from secondpass.errors import ConfigurationError
from secondpass.records import Score, Unscored, UnscoredReason
from secondpass.selection.order import Order
from secondpass.selection.packing import POLICIES, Policy
from secondpass.selection.select import DUPLICATES, choose, select


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
    """Invalid, below the threshold, a duplicate, over the budget, over top-n: each is dropped for one reason."""
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
    settings = Selection(min_probability=0.5, top_n=2, budget=words(2))
    selected = select(judged, settings)
    assert texts(selected.kept) == ["best", "short"]
    assert reasons(selected.dropped) == {
        "best ": "duplicate",
        "far too long a text": "over budget",
        "fourth": "over top-n",
        "unlikely": "below threshold",
        "nan": "invalid",
    }


def test_dropped_candidates_come_best_first() -> None:
    """Whatever step dropped them, the dropped stand in the order of their scores."""
    judged = judge("a", "b", "a ", "c", "d", values=[5, 4, 3, 2, -9])
    selected = select(judged, Selection(min_probability=0.5, top_n=2))
    assert [(item.candidate.text, str(item.reason)) for item in selected.dropped] == [
        ("a ", "duplicate"),
        ("c", "over top-n"),
        ("d", "below threshold"),
    ]


def test_duplicates_take_no_place_of_the_top_n() -> None:
    """Copies are dropped before the best so many are counted."""
    assert kept(judge("fox", "fox", "dog"), top_n=2) == ["fox", "dog"]  # type: ignore[arg-type]


def test_a_duplicate_names_the_kept_one() -> None:
    """A dropped copy names the candidate that is kept in its place."""
    fox, copy = Candidate("fox", id="fox"), Candidate("fox", id="copy")
    selected = select(judge(fox, copy), Selection())
    assert [item.because_of for item in selected.dropped] == [fox]


def test_copies_take_no_place_of_those_without_a_score_or_below_the_threshold() -> None:
    """``max_unscored`` and ``min_keep`` count each text once, also one that is nearly the same."""
    late = [Unscored(UnscoredReason.DEADLINE)] * 5
    same = "the red fox ran over the hill and sat down in the grass"
    for copies in (["a", "a", "a"], [same, f"{same} again", f"now {same}"]):
        unscored = judge(*copies, "b", "c", values=late)
        unlikely = judge(*copies, "b", "c", values=[-1, -2, -3, -4, -5])
        assert kept(unscored, max_unscored=3, duplicates="near") == [copies[0], "b", "c"]  # type: ignore[arg-type]
        settings = {"min_keep": 3, "min_probability": 0.9, "duplicates": "near"}
        assert kept(unlikely, **settings) == [copies[0], "b", "c"]  # type: ignore[arg-type]


def test_copies_are_not_counted_by_the_adaptive_rule() -> None:
    """Copies of the best add nothing to the mass that is covered."""
    judged = judge("a", "a", "a", "b", values=[0.0] * 4)
    assert kept(judged, adaptive=CoveredMass(0.6)) == ["a", "b"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "settings"),
    [(policy, {"duplicates": rule}) for policy in POLICIES for rule in DUPLICATES]
    + [(policy, {"diversity": 0.3}) for policy in POLICIES if policy != "extract"],
)
def test_one_source_is_limited_and_others_take_its_place(policy: Policy, settings: dict[str, object]) -> None:
    """Eight parts of one file leave space for three other files, with every policy, with and without a budget."""
    parts = [Candidate(f"part{number} fox", source="long.txt") for number in range(8)]
    files = [Candidate(f"file{number} fox", source=f"{number}.txt") for number in range(3)]
    for budget in (None, words(10), words(9)):
        limited = Selection(top_n=5, max_per_source=2, policy=policy, budget=budget, **settings)  # type: ignore[arg-type]
        selected = select(judge(*parts, *files), limited)
        sources = [item.candidate.source for item in selected.kept]
        assert sources.count("long.txt") == 2
        assert {"0.txt", "1.txt"} < set(sources)
        assert len(sources) == (5 if budget is None or budget.max_tokens == 10 or policy == "truncate" else 4)
        over = [item.detail for item in selected.dropped if str(item.reason) == "over source limit"]
        assert over == ["at most 2 of one source"] * 6


def test_what_has_no_source_is_not_limited() -> None:
    """Candidates without a source, or with an empty one, come from anywhere."""
    candidates = [Candidate(name, source=source) for name, source in zip("abcd", [None, None, "", ""], strict=True)]
    assert len(kept(judge(*candidates), max_per_source=1)) == 4  # type: ignore[arg-type]


def test_a_copy_takes_the_place_of_one_over_the_limit_of_its_source() -> None:
    """What isn't kept stands for nothing: its copy in another file is kept."""
    one, two, other = Candidate("a", source="1"), Candidate("b", source="1"), Candidate("b", source="2")
    selected = select(judge(one, two, other), Selection(max_per_source=1))
    assert [item.candidate for item in selected.kept] == [one, other]


def test_duplicates_can_be_kept() -> None:
    """``duplicates="keep"`` doesn't look at the texts."""
    assert kept(judge("fox", "fox"), duplicates="keep") == ["fox", "fox"]  # type: ignore[arg-type]


def test_top_n_keeps_the_best() -> None:
    """The best so many stay; a top-k beyond their number changes nothing."""
    assert kept(judge("a", "b", "c"), top_n=2) == ["a", "b"]  # type: ignore[arg-type]
    assert kept(judge("a", "b", "c"), top_n=99) == ["a", "b", "c"]  # type: ignore[arg-type]


def test_top_n_counts_what_fits() -> None:
    """Candidates too long for the budget take no place of the top-k: a shorter one after them is kept."""
    judged = judge("one two three", "four five six", "seven eight nine", "a", "b", "c")
    selected = select(judged, Selection(top_n=2, budget=words(2)))
    assert texts(selected.kept) == ["a", "b"]
    assert [(item.candidate.text, str(item.reason), item.detail) for item in selected.dropped] == [
        ("one two three", "over budget", "3 tokens, 2 left"),
        ("four five six", "over budget", "3 tokens, 2 left"),
        ("seven eight nine", "over budget", "3 tokens, 2 left"),
        ("c", "over top-n", "top_n is 2"),
    ]


def test_prefix_is_not_over_top_n_before_top_n_are_kept() -> None:
    """What ``prefix`` stops at, and all after it, is over the budget, however small top-k is."""
    selected = select(judge("a", "two words", "b"), Selection(top_n=2, budget=words(2), policy="prefix"))
    assert texts(selected.kept) == ["a"]
    assert reasons(selected.dropped) == {"two words": "over budget", "b": "over budget"}


@pytest.mark.parametrize(
    ("policy", "max_tokens", "figures"),
    [
        ("fill", 1, "the smallest of 2 candidates needs 2 tokens, the budget is 1"),
        ("prefix", 2, "the first of 2 candidates needs 3 tokens, the budget is 2"),
        ("fill", 0, "the smallest of 2 candidates needs 2 tokens, the budget is 0"),
    ],
)
def test_an_empty_context_is_marked_and_logged_once(
    policy: Policy, max_tokens: int, figures: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there are candidates and none fits, the facts and one warning give the figures, and no text."""
    judged = judge("one two three", "four five", "nan", values=[2, 1, Unscored(UnscoredReason.INVALID)])
    with caplog.at_level(logging.WARNING, logger="secondpass"):
        selected = select(judged, Selection(budget=words(max_tokens), policy=policy))
    assert selected.facts["nothing_fits"] == figures
    assert caplog.messages == [f"no candidate fits the context budget: {figures}"]


def test_candidates_far_too_long_are_marked_by_their_characters() -> None:
    """Where even the shortest is too long to be worth counting, its characters stand for its tokens."""
    selected = select(judge("x" * 400, "y" * 300), Selection(budget=words(1)))
    assert selected.facts["nothing_fits"] == "the smallest of 2 candidates has 300 characters, the budget is 1"


def test_no_candidates_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    """Where no candidate is left for the budget, nothing is marked and nothing logged."""
    selected = select(judge("unlikely", values=[-9]), Selection(budget=words(9), min_probability=0.5))
    assert "nothing_fits" not in selected.facts
    assert caplog.messages == []


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


def test_top_n_is_stronger_than_min_keep() -> None:
    """At most so many are kept, however many the threshold must leave."""
    assert kept(judge("a", "b", "c"), top_n=1, min_keep=3) == ["a"]  # type: ignore[arg-type]


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
        "exact": False,
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
        ({"top_n": 0}, "top_n must be a whole number from 1"),
        ({"min_probability": 1.5}, "min_probability must be within 0 and 1"),
        ({"min_probability": float("nan")}, "min_probability must be a number or None; got nan"),
        ({"max_per_source": 0}, "max_per_source must be a whole number from 1"),
        ({"min_keep": -1}, "min_keep must be a whole number from 0"),
        ({"max_unscored": -1}, "max_unscored must be a whole number from 0"),
        ({"budget": "many"}, "budget must be a whole number or a ContextBudget or None; got .many."),
        ({"policy": "squeeze"}, "policy must be one of fill, prefix, truncate, extract; got 'squeeze'"),
        ({"duplicates": "some"}, "duplicates must be one of exact, near, keep; got 'some'"),
        ({"order": "random"}, "order must be one of relevance, original, ends; got 'random'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    """A selection that can't work is a ConfigurationError when it is made."""
    with pytest.raises(ConfigurationError, match=said):
        Selection(**settings)  # type: ignore[arg-type]


@given(world=st.lists(st.tuples(candidates(), outcomes), max_size=7), settings=selections)
def test_no_candidate_is_lost_or_invented(
    world: list[tuple[Candidate, float | Score | Unscored]], settings: Selection
) -> None:
    """Whatever the settings, every candidate is kept or dropped, exactly once."""
    found = [candidate for candidate, _ in world]
    judged = judge(*found, values=[outcome for _, outcome in world])  # type: ignore[misc]
    selected = select(judged, settings)
    assert Multiset(id(item.candidate) for item in (*selected.kept, *selected.dropped)) == Multiset(map(id, found))


def test_choosing_alone_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """``choose`` marks an empty context as ``select`` does, and leaves the log to its caller."""
    selected = choose(judge("two words"), Selection(budget=words(1)))
    assert "nothing_fits" in selected.facts
    assert caplog.messages == []


def test_a_template_field_that_no_candidate_has_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The report and one warning name the field, since it would be blank in every prompt."""
    selected = select(judge("a", "b"), Selection(budget=ContextBudget(9, template="{titel}: {text}")))
    assert selected.facts["blank_fields"] == "titel"
    assert [record.getMessage() for record in caplog.records] == ["no candidate has the template's fields titel"]

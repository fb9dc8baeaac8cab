"""Adaptive k: the largest gap and the covered mass, and a result in which nothing is relevant."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Scripted, count_words, judge, reasons, texts

from secondpass import ContextBudget, CoveredMass, LargestGap, Reranker, Selection
from secondpass.errors import ConfigurationError
from secondpass.ranking import Ranked
from secondpass.records import Scale, ScaleKind, Spec, Unscored, UnscoredReason
from secondpass.selection.adaptive import Adaptive
from secondpass.selection.select import Selected, select


def odds(*probabilities: float) -> list[float]:
    """Return log-odds."""
    return [math.log(value / (1 - value)) for value in probabilities]


def chosen(adaptive: Adaptive, *probabilities: float, **settings: object) -> Selected:
    """Return the selection among candidates named a, b, c ... with these probabilities."""
    names = "abcdefghij"[: len(probabilities)]
    return select(judge(*names, values=odds(*probabilities)), Selection(adaptive=adaptive, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probabilities", "kept"),
    [((0.9, 0.8, 0.3, 0.2), 2), ((0.9, 0.3, 0.2, 0.1), 1), ((0.6, 0.5, 0.45, 0.4), 4), ((0.7,), 1), ((0.5, 0.5), 2)],
)
def test_the_largest_gap_by_hand(probabilities: tuple[float, ...], kept: int) -> None:
    """What is above the largest gap of at least 0.2 stays; without such a gap, everything."""
    assert len(chosen(LargestGap(), *probabilities).kept) == kept


def test_the_gap_is_in_the_detail() -> None:
    """What is below says by which figures."""
    (dropped,) = chosen(LargestGap(), 0.9, 0.25).dropped
    assert str(dropped.reason) == "below threshold"
    assert dropped.detail == "probability 0.2500; the largest gap is from 0.9000 to 0.2500"


@pytest.mark.parametrize(("mass", "kept"), [(0.1, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (1.0, 4)])
def test_the_covered_mass_by_hand(mass: float, kept: int) -> None:
    """Of 0.5, 0.3, 0.15 and 0.05, which add up to 1, the fewest that reach the share stay."""
    assert len(chosen(CoveredMass(mass), 0.5, 0.3, 0.15, 0.05).kept) == kept


def test_top_n_and_budget_are_stronger() -> None:
    """Adaptive k never keeps more than ``top_n`` and the budget allow, and ``min_keep`` saves the best so many."""
    even = (0.9, 0.89, 0.88, 0.1)
    assert texts(chosen(LargestGap(), *even, top_n=2).kept) == ["a", "b"]
    assert texts(chosen(LargestGap(), *even, budget=ContextBudget(1, counter=count_words)).kept) == ["a"]
    assert texts(chosen(LargestGap(), *even, min_keep=4).kept) == ["a", "b", "c", "d"]


@given(
    probabilities=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=9),
    rule=st.builds(LargestGap, st.floats(0, 1)) | st.builds(CoveredMass, st.floats(0.01, 1)),
)
def test_adaptive_k_keeps_the_best(probabilities: list[float], rule: Adaptive) -> None:
    """For any probabilities, at least the best stays, and no dropped one is above a kept one."""
    selected = chosen(rule, *sorted(probabilities, reverse=True))
    assert selected.kept
    assert all(item.probability <= min(kept.probability for kept in selected.kept) for item in selected.dropped)  # type: ignore[operator,type-var]


def test_candidates_without_a_score_pass() -> None:
    """What a deadline left unscored has no probability to compare."""
    judged = judge("a", "b", "late", values=[*odds(0.9, 0.1), Unscored(UnscoredReason.DEADLINE)])
    assert texts(select(judged, Selection(adaptive=LargestGap())).kept) == ["a", "late"]


def test_on_an_unknown_scale_gaps_are_parts_of_the_range() -> None:
    """Without probabilities, a gap of at least a fifth of the range of scores counts."""
    judged = [
        Ranked(item.candidate, item.index, item.outcome, None, None, item.rank_before)
        for item in judge("a", "b", "c", values=[90.0, 80.0, 10.0])
    ]
    selected = select(judged, Selection(adaptive=LargestGap()))
    assert reasons(selected.dropped) == {"c": "below threshold"}
    assert "score 10.0000" in selected.dropped[0].detail


def test_covered_mass_needs_probabilities() -> None:
    """On a scale without probabilities, their mass can't be covered, which is an error before anything is scored."""

    class Unknown(Scripted):
        spec = Spec("unknown", Scale(ScaleKind.UNKNOWN), fingerprint="unknown")

    with pytest.raises(ConfigurationError, match="CoveredMass needs scores on a known scale"):
        Reranker(Unknown({}), selection=Selection(adaptive=CoveredMass())).rerank("fox", ["fox"])


@pytest.mark.parametrize(
    "make",
    [lambda: LargestGap(2), lambda: CoveredMass(0), lambda: Selection(adaptive=0.9)],
    ids=["gap", "mass", "rule"],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    """A rule that can't work is a ConfigurationError when it is made."""
    with pytest.raises(ConfigurationError, match="must be"):
        make()  # type: ignore[operator]


def test_nothing_relevant_is_a_result(caplog: pytest.LogCaptureFixture) -> None:
    """Where the threshold leaves nothing, the ranking says so with the best one's figures, and it is logged once."""
    caplog.set_level("INFO", "secondpass")
    ranking = Reranker(Scripted({"a": -4.0}), selection=Selection(min_probability=0.6)).rerank("fox", ["a", "b"])
    assert ranking.nothing_relevant
    assert ranking.stages[-1].facts["nothing_relevant"] == "below threshold, probability 0.5000 < 0.6"
    assert caplog.messages == ["no candidate is relevant: below threshold, probability 0.5000 < 0.6"]


def test_no_candidates_are_nothing_relevant() -> None:
    """An empty first stage has nothing relevant either."""
    assert Reranker(Scripted({})).rerank("fox", []).nothing_relevant


def test_no_space_is_not_nothing_relevant() -> None:
    """Where relevant candidates don't fit, the ranking is empty for another reason."""
    selection = Selection(budget=ContextBudget(0, counter=count_words))
    assert not Reranker(Scripted({}), selection=selection).rerank("fox", ["a"]).nothing_relevant

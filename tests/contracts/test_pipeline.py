"""Invariants of the pipeline: every candidate once, order, budget."""

from collections import Counter as Multiset
from collections.abc import Sequence
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st
from strategies import candidates, excluded, finite, fusions, outcomes, selections
from worlds import Scripted

from secondpass import Call, Candidate, Ranking, Reason, Reranker, Selection
from secondpass.fusion import Fusion
from secondpass.records import Pair, Score, Scored, Unscored, UnscoredReason

LATE = Unscored(UnscoredReason.DEADLINE)
ALL = Selection(duplicates="keep")


class InOrder(Scripted):
    """Returns given outcomes one after the other, independent of the texts; then 0."""

    def __init__(self, outcomes: Sequence[float | Unscored]) -> None:
        super().__init__({})
        self.outcomes = outcomes

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        outcomes = (list(self.outcomes) + [0.0] * len(pairs))[: len(pairs)]
        return Scored(tuple(item if isinstance(item, Unscored) else Score(item) for item in outcomes), self.spec)


def all_candidates(ranking: Ranking) -> list[Candidate]:
    """Return every candidate of a ranking, the kept first."""
    return [item.candidate for item in (*ranking.kept, *ranking.dropped)]


def order(ranking: Ranking) -> list[int]:
    """Return the first-stage ranks of the kept, in the new order."""
    return [kept.rank_before for kept in ranking]


given_candidates = st.lists(candidates(), max_size=8)
given_outcomes = st.lists(outcomes, max_size=8)


@given(data=st.data(), items=given_candidates, given=given_outcomes, selection=selections, fusion=fusions)
def test_every_candidate_comes_out_exactly_once(
    data: st.DataObject,
    items: list[Candidate],
    given: list[float | Unscored],
    selection: Selection,
    fusion: Fusion | None,
) -> None:
    """With any outcomes, fusion, selection and exclusion, each candidate is kept or dropped once, as itself."""
    exclude = data.draw(excluded(items))
    ranking = Reranker(InOrder(given), selection=selection, fusion=fusion).rerank("red fox", items, exclude=exclude)
    assert Multiset(map(id, all_candidates(ranking))) == Multiset(map(id, items))


@given(items=given_candidates, given=given_outcomes, selection=selections)
def test_the_callers_candidates_are_never_changed(
    items: list[Candidate], given: list[float | Unscored], selection: Selection
) -> None:
    """The list and the candidates are equal to what they were before the call."""
    before = deepcopy(items)
    Reranker(InOrder(given), selection=selection).rerank("red fox", items)
    assert items == before


@given(items=given_candidates, given=given_outcomes, selection=selections, fusion=fusions)
def test_same_input_same_ranking(
    items: list[Candidate], given: list[float | Unscored], selection: Selection, fusion: Fusion | None
) -> None:
    """Two calls with the same input give the same ranking, except for the times."""
    reranker = Reranker(InOrder(given), selection=selection, fusion=fusion)
    one, other = reranker.rerank("red fox", items), reranker.rerank("red fox", items)
    assert (one.kept, one.dropped, one.context, one.degraded) == (
        other.kept,
        other.dropped,
        other.context,
        other.degraded,
    )


@given(data=st.data(), items=given_candidates, given=given_outcomes, selection=selections, fusion=fusions)
def test_the_context_is_within_the_budget(
    data: st.DataObject,
    items: list[Candidate],
    given: list[float | Unscored],
    selection: Selection,
    fusion: Fusion | None,
) -> None:
    """The tokens of the whole context, as it is joined from the kept texts, never exceed the budget."""
    exclude = data.draw(excluded(items))
    ranking = Reranker(InOrder(given), selection=selection, fusion=fusion).rerank("red fox", items, exclude=exclude)
    budget = selection.budget
    if budget is not None and ranking.kept:
        assert ranking.context == budget.join([(kept.candidate, kept.text) for kept in ranking])
        assert budget.counting.count(ranking.context) == ranking.tokens
        assert (ranking.tokens or 0) <= budget.max_tokens
    assert selection.top_n is None or len(ranking) <= selection.top_n


@given(data=st.data(), items=given_candidates, given=given_outcomes, selection=selections)
def test_nothing_duplicates_what_is_not_kept(
    data: st.DataObject, items: list[Candidate], given: list[float | Unscored], selection: Selection
) -> None:
    """A near-duplicate or a displaced candidate names one that is kept, and what excludes one was given."""
    exclude = data.draw(excluded(items))
    ranking = Reranker(InOrder(given), selection=selection).rerank("red fox", items, exclude=exclude)
    kept = {id(item.candidate) for item in ranking}
    for item in ranking.dropped:
        if item.reason is Reason.DIVERSITY or (item.reason is Reason.DUPLICATE and selection.duplicates == "near"):
            assert id(item.because_of) in kept
        if item.reason is Reason.EXCLUDED:
            assert item.because_of is None or any(item.because_of is other for other in exclude)


@given(values=st.lists(finite, min_size=1, max_size=8))
def test_ties_and_order_by_the_values(values: list[float]) -> None:
    """Candidates are ordered by their values, equal ones in the first stage's order."""
    ranking = Reranker(InOrder(values), selection=ALL).rerank("red fox", ["text"] * len(values))
    assert order(ranking) == sorted(range(1, len(values) + 1), key=lambda rank: (-values[rank - 1], rank))


@given(given=st.lists(st.one_of(finite, st.just(LATE)), min_size=1, max_size=8))
def test_the_unscored_follow_in_first_stage_order(given: list[float | Unscored]) -> None:
    """The unscored candidates come last, in the first stage's order, however many there are."""
    ranking = Reranker(InOrder(given), selection=ALL).rerank("red fox", ["text"] * len(given))
    late = [rank for rank, item in enumerate(given, start=1) if isinstance(item, Unscored)]
    assert order(ranking)[len(given) - len(late) :] == late


@given(values=st.lists(finite, min_size=1, max_size=8), top_n=st.integers(1, 8))
def test_ranks_count_from_one(values: list[float], top_n: int) -> None:
    """The kept have the ranks 1, 2, 3, without gaps."""
    selection = Selection(top_n=top_n, duplicates="keep")
    ranking = Reranker(InOrder(values), selection=selection).rerank("red fox", ["text"] * len(values))
    assert [kept.rank for kept in ranking] == list(range(1, min(top_n, len(values)) + 1))

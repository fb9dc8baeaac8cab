"""The result: kept and dropped candidates with their figures."""

import pytest
from worlds import Scripted, count_words

from secondpass import Candidate, ContextBudget, OverlapScorer, Ranking, Reranker, Selection
from secondpass.ranking import Cause, Degraded
from secondpass.records import Unscored, UnscoredReason

FOX = Candidate("the red fox runs", id="fox")
DOG = Candidate("the old dog", id="dog")
COPY = Candidate("the red fox runs", id="copy")


@pytest.fixture
def ranking() -> Ranking:
    """Return a ranking of a dog, a fox and the fox's copy for the query "red fox" and a budget of 4 words."""
    budget = ContextBudget(4, counter=count_words)
    return Reranker(OverlapScorer(), selection=Selection(budget=budget)).rerank("red fox", [DOG, FOX, COPY])


def test_ranking_is_a_sequence_of_the_kept(ranking: Ranking) -> None:
    """Length, iteration and indexing go over the kept candidates."""
    assert [kept.candidate.id for kept in ranking] == ["fox"]
    assert len(ranking) == 1
    assert ranking[0].candidate is FOX


def test_kept_candidate_has_its_figures(ranking: Ranking) -> None:
    """The fox contains both words of the query, was second in the first stage, and takes 4 words of the context."""
    fox = ranking[0]
    assert (fox.score, fox.probability, fox.fused) == (1.0, 1.0, None)
    assert (fox.rank_before, fox.rank, fox.tokens, fox.cut) == (2, 1, 4, 0)
    assert (fox.text, fox.spans, fox.truncated) == ("the red fox runs", ((0, 16),), 0)


def test_dropped_candidates_come_best_first(ranking: Ranking) -> None:
    """The copy has the score 1 and the dog 0, so that the copy comes first."""
    assert [(dropped.candidate.id, str(dropped.reason)) for dropped in ranking.dropped] == [
        ("copy", "duplicate"),
        ("dog", "over budget"),
    ]
    assert ranking.dropped[0].because_of is FOX


def test_index_is_the_position_in_the_input(ranking: Ranking) -> None:
    """Kept and dropped candidates carry their positions in the input, counted from 0."""
    assert [kept.index for kept in ranking.kept] == [1]
    assert [dropped.index for dropped in ranking.dropped] == [2, 0]


def test_index_is_independent_of_given_ranks() -> None:
    """Where candidates have first-stage ranks, the index is still the position in the input."""
    candidates = [Candidate("third", rank=3), Candidate("first", rank=1), Candidate("second", rank=2)]
    kept = Reranker(Scripted({})).rerank("query", candidates).kept
    assert [(item.text, item.index, item.rank_before) for item in kept] == [
        ("first", 1, 1),
        ("second", 2, 2),
        ("third", 0, 3),
    ]


def test_unscored_candidate_has_no_figures() -> None:
    """A candidate that the model could not score has neither a score nor a probability."""
    scorer = Scripted({FOX.text: Unscored(UnscoredReason.INVALID, "the model gave nan")})
    (dropped,) = Reranker(scorer).rerank("red fox", [FOX, DOG]).dropped
    assert (dropped.score, dropped.probability, dropped.truncated) == (None, None, 0)
    assert dropped.detail == "the model gave nan"


def test_degradation_reads_as_one_line() -> None:
    """``str(degraded)`` is cause and detail with a colon between them."""
    assert str(Degraded(Cause.DEADLINE, "3 of 9 candidates")) == "deadline: 3 of 9 candidates"

"""What comes out: the ranking, as records, as text and as plain data."""

import json

import pytest
from worlds import Failing, Scripted, count_words

from secondpass import Candidate, ContextBudget, OverlapScorer, Ranking, Reranker, Selection
from secondpass.ranking import Cause, Degraded
from secondpass.scores import Unscored, UnscoredReason

FOX = Candidate("the red fox runs", id="fox", score=0.2, source="store", payload=object())
DOG = Candidate("the old dog", id="dog", score=0.9)
COPY = Candidate("the red fox runs", id="copy")


@pytest.fixture
def ranking() -> Ranking:
    """Return a ranking of a dog, a fox and the fox's copy, asked for a red fox, with room for 4 words."""
    budget = ContextBudget(4, counter=count_words)
    return Reranker(OverlapScorer(), selection=Selection(budget=budget)).rerank("red fox", [DOG, FOX, COPY])


def test_a_ranking_is_a_sequence_of_the_kept(ranking: Ranking) -> None:
    """Length, iteration and indexing go over what the reader will see."""
    assert [kept.candidate.id for kept in ranking] == ["fox"]
    assert len(ranking) == 1
    assert ranking[0].candidate is FOX


def test_a_kept_candidate_tells_how_it_got_there(ranking: Ranking) -> None:
    """The fox holds both of the question's words, was second before, and takes 4 words of the prompt."""
    fox = ranking[0]
    assert (fox.score, fox.probability, fox.fused) == (1.0, 1.0, None)
    assert (fox.rank_before, fox.rank, fox.tokens) == (2, 1, 4)
    assert (fox.text, fox.spans, fox.truncated) == ("the red fox runs", ((0, 16),), 0)


def test_dropped_candidates_come_best_first(ranking: Ranking) -> None:
    """The copy scores 1 and the dog 0, so that the copy comes first."""
    assert [(dropped.candidate.id, str(dropped.reason)) for dropped in ranking.dropped] == [
        ("copy", "duplicate"),
        ("dog", "over budget"),
    ]


def test_the_report_tells_the_whole_story(ranking: Ranking) -> None:
    """The report has the question, each candidate with its figures or its reason, and each stage."""
    report = ranking.report()
    assert "question: red fox\nkept 1, 4 tokens\n" in report
    assert "     1    2  1.000    1.00      4  the red fox runs" in report
    assert "the old dog  [over budget: " in report


def test_the_report_names_every_stage(ranking: Ranking) -> None:
    """The last lines are the stages with their milliseconds and facts."""
    score, select = ranking.report().splitlines()[-2:]
    assert score.startswith("score: ")
    assert "pairs 3" in score
    assert "policy fill, tokens 4, max_tokens 4, counter count_words, exact False" in select


def test_the_report_says_when_a_ranking_is_degraded() -> None:
    """A first stage that stands in for the model is announced, and missing figures are dashes."""
    report = Reranker(Failing()).rerank("red fox", [FOX]).report()
    assert "DEGRADED, scorer failed: the card fell out of its slot" in report
    assert "     1    1      -       -      -  the red fox runs" in report


def test_a_long_text_takes_one_line_of_the_report() -> None:
    """Line breaks become blanks, and what is longer than the column is cut with an ellipsis."""
    report = Reranker(OverlapScorer()).rerank("red fox", ["red\nfox " * 50]).report()
    assert "  red fox red fox" in report
    assert "…\n" in report


def test_plain_data_survives_json(ranking: Ranking) -> None:
    """``to_dict`` is made of what JSON has, and comes back from it equal."""
    data = ranking.to_dict()
    assert json.loads(json.dumps(data)) == data


def test_plain_data_holds_what_the_records_hold(ranking: Ranking) -> None:
    """The kept and the dropped carry their ids, scores, ranks and reasons; payloads stay out."""
    data = ranking.to_dict()
    assert data["kept"] == [
        {
            "id": "fox",
            "source": "store",
            "first_stage_score": 0.2,
            "rank_before": 2,
            "score": 1.0,
            "probability": 1.0,
            "fused": None,
            "truncated": 0,
            "text": "the red fox runs",
            "spans": [[0, 16]],
            "rank": 1,
            "tokens": 4,
        }
    ]
    assert [(item["id"], item["reason"], item["because_of"]) for item in data["dropped"]] == [
        ("copy", "duplicate", "fox"),
        ("dog", "over budget", None),
    ]
    assert (data["query"], data["tokens"], data["scorer"], data["degraded"]) == ("red fox", 4, "overlap", None)


def test_plain_data_says_when_a_ranking_is_degraded() -> None:
    """A degraded ranking names no scorer and gives its cause in words."""
    data = Reranker(Failing()).rerank("red fox", [FOX]).to_dict()
    assert data["scorer"] is None
    assert data["degraded"] == "scorer failed: the card fell out of its slot"


def test_an_unscored_candidate_has_no_figures() -> None:
    """A candidate that the model could not score has neither a score nor a probability."""
    scorer = Scripted({FOX.text: Unscored(UnscoredReason.INVALID, "the model gave nan")})
    (dropped,) = Reranker(scorer).rerank("red fox", [FOX, DOG]).dropped
    assert (dropped.score, dropped.probability, dropped.truncated) == (None, None, 0)
    assert dropped.detail == "the model gave nan"


def test_a_degradation_reads_as_one_line() -> None:
    """Cause and detail, with a colon between them."""
    assert str(Degraded(Cause.DEADLINE, "3 of 9 candidates")) == "deadline: 3 of 9 candidates"

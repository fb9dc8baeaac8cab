"""The scorer protocol, and what all scorers of the package have."""

from collections.abc import Sequence

import pytest
from fake_engine import FakeEngine

from secondpass import Call, OverlapScorer, Pair, Reranker, Scale, ScaleKind, Score, Scored, Scorer, Selection, Spec
from secondpass.errors import InputError
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.scorer import warm_up


class LengthScorer:
    """A scorer as a user writes it: a specification, and one outcome for each pair."""

    spec = Spec("length", Scale(ScaleKind.UNKNOWN), fingerprint="length-1")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        return Scored(tuple(Score(float(len(pair.text))) for pair in pairs), self.spec)


def test_a_users_own_scorer_needs_two_members() -> None:
    """A class with ``spec`` and ``score_pairs``, made of public names alone, is a scorer that a reranker takes."""
    scorer = LengthScorer()
    assert isinstance(scorer, Scorer)
    ranking = Reranker(scorer, selection=Selection(top_n=2)).rerank("query", ["a", "aaa", "aa"])
    assert [(kept.text, kept.score, kept.probability) for kept in ranking] == [("aaa", 3.0, None), ("aa", 2.0, None)]
    assert ranking.by is scorer.spec
    assert [stage.name for stage in ranking.stages] == ["score", "select"]


@pytest.mark.parametrize("scorer", [OverlapScorer(), CrossEncoder(FakeEngine())], ids=["overlap", "cross-encoder"])
def test_scorers_of_the_package_follow_the_protocol(scorer: Scorer) -> None:
    """Every scorer of the package is a ``Scorer``."""
    assert isinstance(scorer, Scorer)


@pytest.mark.parametrize(
    ("query", "texts", "message"),
    [
        (None, ["a"], "the query must be a string, got NoneType"),
        ("a", ["a", 3], "text 1 must be a string, got int"),
        ("a", "a text", "texts must be a list of strings, got str"),
    ],
    ids=["query", "text", "one string"],
)
def test_wrong_types_are_refused(query: str, texts: list[str], message: str) -> None:
    """``score`` names the argument that isn't a string."""
    with pytest.raises(InputError, match=message):
        OverlapScorer().score(query, texts)


def test_warming_up_calls_warmup_where_there_is_one() -> None:
    """``warm_up`` runs a model once, and does nothing for a scorer without ``warmup``."""
    engine = FakeEngine()
    warm_up(CrossEncoder(engine))
    warm_up(LengthScorer())
    warm_up(OverlapScorer())
    assert engine.batches == [[1]]

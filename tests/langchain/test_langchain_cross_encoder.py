"""The core behind LangChain's own cross-encoder interface."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_worlds import QUESTION, TEXTS, BrokenScorer, documents, ids

from secondpass import Call, OverlapScorer
from secondpass.errors import ModelNotFound, ScoringError
from secondpass.langchain import CrossEncoderModel
from secondpass.scores import Pair, Scored, Unscored, UnscoredReason


class OneInvalidScorer(OverlapScorer):
    """Marks the second pair as one for which the model gave no finite number."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        scored = super().score_pairs(pairs, call=call)
        return Scored((scored.outcomes[0], Unscored(UnscoredReason.INVALID, "nan"), *scored.outcomes[2:]), scored.by)


def test_works_inside_langchains_own_reranker() -> None:
    """``CrossEncoderReranker`` takes it for its model, and orders documents by it."""
    model = CrossEncoderModel(OverlapScorer())
    assert isinstance(model, BaseCrossEncoder)
    assert ids(CrossEncoderReranker(model=model, top_n=2).compress_documents(documents(), QUESTION)) == [
        "answer",
        "rain",
    ]


def test_scores_are_plain_floats_in_the_order_of_the_pairs() -> None:
    """One raw score for each pair."""
    scores = CrossEncoderModel(OverlapScorer()).score([(QUESTION, TEXTS["rain"]), (QUESTION, TEXTS["bread"])])
    assert scores == pytest.approx([0.6, 0.0])
    assert {type(score) for score in scores} == {float}


def test_no_pairs_give_no_scores() -> None:
    """An empty list is no error."""
    assert CrossEncoderModel(OverlapScorer()).score([]) == []


def test_pair_without_a_score_raises() -> None:
    """The interface can't mark a pair, so a NaN raises rather than being ranked or losing a place."""
    with pytest.raises(ScoringError, match="1 of 3 pairs got no score"):
        CrossEncoderModel(OneInvalidScorer()).score([(QUESTION, text) for text in list(TEXTS.values())[:3]])


def test_scorer_that_breaks_down_raises() -> None:
    """There is no first stage's order to fall back to here."""
    with pytest.raises(ScoringError, match="on fire"):
        CrossEncoderModel(BrokenScorer()).score([(QUESTION, "text")])


def test_name_is_loaded_by_the_first_call_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Construction loads nothing."""
    loaded: list[str] = []
    monkeypatch.setattr(
        "secondpass.langchain.cross_encoder.load_scorer", lambda name: loaded.append(name) or OverlapScorer()
    )
    model = CrossEncoderModel("some/model")
    assert loaded == []
    assert model.score([(QUESTION, "swallows")]) == model.score([(QUESTION, "swallows")])
    assert loaded == ["some/model"]


def test_name_of_nothing_raises_at_the_first_call(tmp_path: Path) -> None:
    """A model that isn't there is named."""
    model = CrossEncoderModel(str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFound, match="nowhere"):
        model.score([(QUESTION, "text")])


def test_real_weights_give_raw_logits(reranker_folder: Path) -> None:
    """With real weights the answer's log-odds are far above the others'."""
    scores = CrossEncoderModel(str(reranker_folder)).score([(QUESTION, TEXTS["answer"]), (QUESTION, TEXTS["bread"])])
    assert scores[0] > 0 > scores[1]

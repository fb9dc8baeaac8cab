"""secondpass scorers behind LangChain's ``BaseCrossEncoder``."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from integration_support import Loader
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_support import QUESTION, TEXTS, BrokenScorer, documents, ids

from secondpass import Call, LoadOptions, OverlapScorer
from secondpass.errors import ModelNotFound, ScoringError
from secondpass.langchain import CrossEncoderModel
from secondpass.records import Pair, Scored, Unscored, UnscoredReason


class OneInvalidScorer(OverlapScorer):
    """Returns no score for the second pair."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        scored = super().score_pairs(pairs, call=call)
        return Scored((scored.outcomes[0], Unscored(UnscoredReason.INVALID, "nan"), *scored.outcomes[2:]), scored.by)


def test_works_inside_langchains_own_reranker() -> None:
    """``CrossEncoderReranker`` accepts it as its model, and orders documents by it."""
    model = CrossEncoderModel(OverlapScorer())
    assert isinstance(model, BaseCrossEncoder)
    assert ids(CrossEncoderReranker(model=model, top_n=2).compress_documents(documents(), QUESTION)) == [
        "answer",
        "rain",
    ]


def test_scores_are_plain_floats_in_the_order_of_the_pairs() -> None:
    """There is one raw score for each pair."""
    scores = CrossEncoderModel(OverlapScorer()).score([(QUESTION, TEXTS["rain"]), (QUESTION, TEXTS["bread"])])
    assert scores == pytest.approx([0.6, 0.0])
    assert {type(score) for score in scores} == {float}


def test_no_pairs_give_no_scores() -> None:
    """An empty list is no error."""
    assert CrossEncoderModel(OverlapScorer()).score([]) == []


def test_pair_without_a_score_raises() -> None:
    """The interface has no mark for a pair without a score, so it raises."""
    with pytest.raises(ScoringError, match="1 of 3 pairs got no score"):
        CrossEncoderModel(OneInvalidScorer()).score([(QUESTION, text) for text in list(TEXTS.values())[:3]])


def test_failing_scorer_raises() -> None:
    """There is no first-stage order to return here."""
    with pytest.raises(ScoringError, match="engine failed"):
        CrossEncoderModel(BrokenScorer()).score([(QUESTION, "text")])


def test_name_is_loaded_by_the_first_call_and_only_once(loader: Loader) -> None:
    """Construction loads nothing, and equal models share the first call's scorer."""
    models = [CrossEncoderModel("some/model"), CrossEncoderModel("some/model")]
    assert loader.names == []
    assert models[0].score([(QUESTION, "swallows")]) == models[1].score([(QUESTION, "swallows")])
    assert loader.names == ["some/model"]


def test_without_a_name_the_default_model_is_loaded(loader: Loader) -> None:
    """``CrossEncoderModel()`` uses the bundled model ``small``."""
    CrossEncoderModel().score([(QUESTION, "text")])
    assert loader.names == ["small"]


def test_engine_and_device_reach_the_loading(loader: Loader) -> None:
    """The model is loaded with the given engine on the given device."""
    options = LoadOptions(engine="onnx", device="cpu")
    CrossEncoderModel("some/model", options=options).score([(QUESTION, "text")])
    assert loader.options == [options]


def test_concurrent_first_calls_load_the_model_once(loader: Loader) -> None:
    """Threads that call at the same time wait for one loading."""
    barrier = threading.Barrier(4)
    model = CrossEncoderModel("some/model")

    def first_call() -> list[float]:
        barrier.wait(30)
        return model.score([(QUESTION, "swallows")])

    loader.before = lambda name: time.sleep(0.05)
    with ThreadPoolExecutor(4) as pool:
        results = [future.result() for future in [pool.submit(first_call) for _ in range(4)]]
    assert results == [[0.2]] * 4
    assert loader.names == ["some/model"]


def test_model_that_does_not_exist_raises_at_the_first_call(tmp_path: Path) -> None:
    """The error names the missing model."""
    model = CrossEncoderModel(str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFound, match="nowhere"):
        model.score([(QUESTION, "text")])


def test_real_model_gives_raw_logits(reranker_folder: Path) -> None:
    """With a real model the relevant text's log-odds are positive, and the irrelevant one's negative."""
    scores = CrossEncoderModel(str(reranker_folder)).score([(QUESTION, TEXTS["answer"]), (QUESTION, TEXTS["bread"])])
    assert scores[0] > 0 > scores[1]

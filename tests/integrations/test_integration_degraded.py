"""Degraded passes, deadlines, and observers that fail."""

import asyncio
import itertools
import json
import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from integration_support import FIRST_STAGE, QUESTION, TEXTS, BrokenScorer, LangChain, LlamaIndex, Loader, WaitingScorer
from llama_index.core import get_response_synthesizer
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from worlds import Scripted

from secondpass import OverlapScorer, Ranking
from secondpass.langchain import SecondPassRerank
from secondpass.records import Unscored, UnscoredReason

STAGE1 = pytest.approx(list(FIRST_STAGE.values()))


class FixedRetriever(BaseRetriever):
    """Returns the same nodes for every query."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return LlamaIndex().items()


def settings_for(integration: LangChain) -> dict[str, Any]:
    """Return the settings with which an integration reads first-stage scores."""
    return {"score_key": "stage1"} if type(integration) is LangChain else {}


@pytest.mark.parametrize("query", [QUESTION, " "], ids=["scorer failed", "empty query"])
async def test_degraded_results_have_the_first_stages_scores(integration: LangChain, query: str) -> None:
    """Without scores the results have the first stage's order and scores, and are marked, on both paths."""
    component = integration.create(model=BrokenScorer(), **settings_for(integration))
    for results in (integration.run(component, query=query), await integration.arun(component, query=query)):
        assert integration.ids(results) == list(TEXTS)
        assert integration.scores(results) == STAGE1
        assert all(entry["degraded"] for entry in integration.entries(results))
        assert not any("score" in entry for entry in integration.entries(results))


def test_results_without_a_score_after_a_deadline_have_the_first_stages(integration: LangChain) -> None:
    """The scored come first with their probability, then the others with their first-stage score; all are marked."""
    missing = Unscored(UnscoredReason.DEADLINE)
    script = {text: missing for name, text in TEXTS.items() if name != "answer"} | {TEXTS["answer"]: 0.0}
    results = integration.run(integration.create(model=Scripted(script), **settings_for(integration)))
    assert integration.ids(results) == ["answer", "bread", "wall", "fast", "rain"]
    expected = [0.5, *(FIRST_STAGE[name] for name in ("bread", "wall", "fast", "rain"))]
    assert integration.scores(results) == pytest.approx(expected)
    assert all(entry["degraded"].startswith("deadline") for entry in integration.entries(results))


def test_results_that_were_scored_are_not_marked(integration: LangChain) -> None:
    """A complete pass has no mark."""
    results = integration.run(integration.create(model=OverlapScorer()))
    assert not any("degraded" in entry for entry in integration.entries(results))


def test_degraded_documents_have_no_score_of_an_earlier_reranking() -> None:
    """``relevance_score`` of an earlier reranker is replaced by None where the first stage has no score."""
    integration = LangChain()
    earlier = integration.run(integration.create(model=OverlapScorer()))
    results = integration.run(integration.create(model=BrokenScorer()), earlier)
    assert integration.scores(results) == [None] * 5
    assert all("probability" not in entry for entry in integration.entries(results))


def test_similarity_cutoff_keeps_the_results_of_a_degraded_pass() -> None:
    """LlamaIndex's ``SimilarityPostprocessor`` sees the first stage's scores, so that the response isn't empty."""
    engine = RetrieverQueryEngine(
        FixedRetriever(),
        get_response_synthesizer(llm=MockLLM()),
        node_postprocessors=[
            LlamaIndex().create(model=BrokenScorer()),
            SimilarityPostprocessor(similarity_cutoff=0.65),
        ],
    )
    response = engine.query(QUESTION)
    assert [scored.node.node_id for scored in response.source_nodes] == ["bread", "wall", "answer"]


async def test_loading_the_model_does_not_count_towards_the_deadline(
    integration: LangChain, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is scored although loading takes longer than the deadline, on both paths."""
    seconds = itertools.count(step=10)
    clock = SimpleNamespace(now=next(seconds))
    monkeypatch.setattr("secondpass.records.time", SimpleNamespace(monotonic=lambda: clock.now))
    loader.before = lambda name: setattr(clock, "now", next(seconds))
    synchronous = integration.create(model="first/model", deadline_ms=200)
    asynchronous = integration.create(model="second/model", deadline_ms=200)
    for results in (integration.run(synchronous), await integration.arun(asynchronous)):
        assert integration.ids(results)[0] == "answer"
        assert not any("degraded" in entry for entry in integration.entries(results))


async def test_event_loop_is_free_while_a_model_loads(integration: LangChain, loader: Loader) -> None:
    """The asynchronous path loads the model in another thread."""
    loop = asyncio.get_running_loop()
    loader.before = lambda name: asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(30)
    assert integration.ids(await integration.arun(integration.create(model="some/model", top_n=1))) == ["answer"]


async def test_failing_observer_costs_a_logged_error_and_not_the_result(
    integration: LangChain, caplog: pytest.LogCaptureFixture
) -> None:
    """The results are complete, the other observers are called, and each failure is logged once, on both paths."""
    rankings: list[Ranking] = []

    def fail(ranking: Ranking) -> None:
        raise RuntimeError("the disk is full")

    component = integration.create(model=OverlapScorer(), observers=[fail, rankings.append])
    assert integration.ids(integration.run(component))[0] == "answer"
    assert integration.ids(await integration.arun(component))[0] == "answer"
    assert len(rankings) == 2
    assert [record.levelno for record in caplog.records if record.name == "secondpass"] == [logging.ERROR] * 2


@pytest.mark.parametrize("query", [QUESTION, " "], ids=["scorer failed", "empty query"])
def test_degraded_pass_logs_one_warning_without_texts(
    integration: LangChain, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    """The warning has the cause, and neither the query nor a text."""
    integration.run(integration.create(model=BrokenScorer()), query=query)
    [record] = [record for record in caplog.records if record.name == "secondpass"]
    assert record.levelno == logging.WARNING
    assert "degraded" in record.getMessage()
    assert not any(text in record.getMessage() for text in [QUESTION, *TEXTS.values()])
    assert record.exc_info is None


def test_metadata_stays_without_the_two_keys() -> None:
    """With ``add_metadata=False`` documents keep their metadata unchanged, also in a degraded pass."""
    integration = LangChain()
    for scorer in (OverlapScorer(), BrokenScorer()):
        results = SecondPassRerank(model=scorer, add_metadata=False).compress_documents(integration.items(), QUESTION)
        by_id = {document.id: document for document in integration.items()}
        assert all(document == by_id[document.id] for document in results)


@pytest.mark.parametrize("scorer", [OverlapScorer(), BrokenScorer()], ids=["scored", "degraded"])
def test_retrieval_score_is_kept_and_excluded(scorer: OverlapScorer) -> None:
    """With ``keep_retrieval_score`` the first-stage score is in the metadata, and in no prompt or embedding."""
    integration = LlamaIndex()
    node = TextNode(text="swallows", metadata={"file": "f"}, excluded_llm_metadata_keys=["file"])
    component = integration.create(model=scorer, keep_retrieval_score=True)
    [result] = component.postprocess_nodes([NodeWithScore(node=node, score=0.7)], query_str=QUESTION)
    assert result.node.metadata["retrieval_score"] == 0.7
    assert result.node.excluded_llm_metadata_keys == ["file", "secondpass", "retrieval_score"]
    assert result.node.excluded_embed_metadata_keys == ["secondpass", "retrieval_score"]
    assert node.metadata == {"file": "f"}


@pytest.mark.parametrize(
    ("score", "written"),
    [(np.float32(0.5), {"retrieval_score": 0.5}), (float("nan"), {}), (float("inf"), {}), (None, {})],
    ids=["numpy", "nan", "inf", "none"],
)
def test_retrieval_score_is_a_plain_number_or_left_out(score: Any, written: dict[str, float]) -> None:
    """Metadata are written as JSON: an object of numpy's becomes a float, and what is no number is left out."""
    node = NodeWithScore(node=TextNode(text="swallows"))
    node.score = score
    component = LlamaIndex().create(model=OverlapScorer(), keep_retrieval_score=True, add_metadata=False)
    [result] = component.postprocess_nodes([node], query_str=QUESTION)
    assert json.loads(json.dumps(result.node.metadata, allow_nan=False)) == written
    assert all(type(value) is float for value in result.node.metadata.values())


def test_metadata_stay_flat_on_request(integration: LangChain) -> None:
    """With ``add_metadata=False`` a document's metadata are its own: some stores take no nested ones."""
    before = [getattr(item, "node", item).metadata for item in integration.items()]
    results = integration.run(integration.create(model=OverlapScorer(), add_metadata=False))
    assert all(getattr(result, "node", result).metadata in before for result in results)


def test_retrieval_score_is_not_kept_by_default() -> None:
    """Without ``keep_retrieval_score`` the metadata has the record alone."""
    integration = LlamaIndex()
    [result, *_] = integration.run(integration.create(model=OverlapScorer()))
    assert set(result.node.metadata) == {"secondpass"}


async def test_cancelled_task_cancels_the_call(integration: LangChain) -> None:
    """When the awaiting task is cancelled, so is the scorer's call."""
    scorer = WaitingScorer()
    task = asyncio.create_task(integration.arun(integration.create(model=scorer)))
    try:
        assert await asyncio.to_thread(scorer.begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scorer.call is not None
        assert scorer.call.stop_reason() is UnscoredReason.CANCELLED
    finally:
        scorer.may_end.set()

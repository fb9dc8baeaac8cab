"""OpenTelemetry spans and metrics, read back from the SDK's in-memory exporters."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the OpenTelemetry SDK isn't installed")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from worlds import Failing, Scripted

from secondpass import Cached, Call, Candidate, ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.observe.telemetry import Telemetry
from secondpass.records import Pair, Scored, Stage

FOXES = [
    Candidate("a blue whale", id="whale", score=0.9),
    Candidate("a red fox", id="fox", score=0.5, metadata={"page": 7}),
    Candidate("a red fox", id="copy", score=0.4),
    Candidate("red"),
]


@dataclass
class Exported:
    """An SDK in memory, and what was exported to it."""

    tracers: TracerProvider
    meters: MeterProvider
    spans_out: InMemorySpanExporter
    metrics_out: InMemoryMetricReader

    def telemetry(self, **settings: Any) -> Telemetry:
        return Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **settings)

    def span(self) -> ReadableSpan:
        [span] = [span for span in self.spans_out.get_finished_spans() if span.name == "rerank"]
        return span

    def points(self, name: str) -> list[Any]:
        data = self.metrics_out.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        metrics = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [point for metric in metrics for point in metric.data.data_points]

    def counts(self, name: str, attribute: str) -> dict[str, float]:
        return {point.attributes.get(attribute, ""): point.value for point in self.points(name)}


@pytest.fixture
def exported() -> Exported:
    """Return a fresh SDK with in-memory exporters."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    return Exported(tracers, MeterProvider([reader]), spans, reader)


def test_a_call_is_a_span_with_openinference_attributes(exported: Exported) -> None:
    """The span has query, model, top-k, the inputs in first-stage order and the outputs in reading order, no texts."""
    selection = Selection(top_n=1, min_probability=0.1, budget=ContextBudget(max_tokens=50))
    reranker = Reranker(OverlapScorer(), selection=selection, observers=[exported.telemetry()])
    ranking = reranker.rerank("red fox", FOXES)
    span = exported.span()
    attributes = dict(span.attributes or {})
    stages = {f"secondpass.stage.{stage.name}.seconds": stage.seconds for stage in ranking.stages}
    assert attributes == {
        "openinference.span.kind": "RERANKER",
        "reranker.model_name": "overlap",
        "reranker.query": "red fox",
        "reranker.top_k": 1,
        "reranker.input_documents.0.document.id": "whale",
        "reranker.input_documents.0.document.score": 0.9,
        "reranker.input_documents.1.document.id": "fox",
        "reranker.input_documents.1.document.score": 0.5,
        "reranker.input_documents.2.document.id": "copy",
        "reranker.input_documents.2.document.score": 0.4,
        "reranker.output_documents.0.document.id": "fox",
        "reranker.output_documents.0.document.score": 1.0,
        "secondpass.candidates": 4,
        "secondpass.kept": 1,
        "secondpass.tokens": ranking.tokens,
        "secondpass.dropped.duplicate": 1,
        "secondpass.dropped.below_threshold": 1,
        "secondpass.dropped.over_top_n": 1,
        **stages,
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time >= sum(stages.values()) * 1e9 - 1000


def test_texts_are_there_when_asked_for_and_the_query_can_be_left_out(exported: Exported) -> None:
    """``texts`` adds contents and metadata, and ``queries=False`` removes the query."""
    reranker = Reranker(OverlapScorer(), observers=[exported.telemetry(texts=True, queries=False)])
    reranker.rerank("red fox", FOXES)
    attributes = exported.span().attributes or {}
    assert "reranker.query" not in attributes
    assert attributes["reranker.input_documents.0.document.content"] == "a blue whale"
    assert attributes["reranker.output_documents.0.document.metadata"] == '{"page": 7}'


def test_many_candidates_do_not_push_out_the_models_name(exported: Exported) -> None:
    """An SDK keeps 128 attributes; the documents are limited, and what identifies the call is always there."""
    candidates = [Candidate(f"text {n}", id=str(n), score=1.0) for n in range(200)]
    for settings in ({}, {"max_documents": 200}):
        Reranker(OverlapScorer(), observers=[exported.telemetry(**settings)]).rerank("text 7", candidates)
    limited, wide = exported.spans_out.get_finished_spans()
    assert limited.dropped_attributes == 0
    assert "reranker.output_documents.24.document.id" in (limited.attributes or {})
    for span in (limited, wide):
        assert (span.attributes or {})["reranker.model_name"] == "overlap"
        assert (span.attributes or {})["secondpass.candidates"] == 200


def test_durations_are_histograms_in_seconds(exported: Exported) -> None:
    """The call and each of its stages are recorded, with buckets from a millisecond to ten seconds."""
    reranker = Reranker(OverlapScorer(), observers=[exported.telemetry()])
    for _ in range(3):
        reranker.rerank("red fox", FOXES)
    [calls] = exported.points("secondpass.rerank.duration")
    assert (calls.count, calls.attributes) == (3, {"model": "overlap", "degraded": False})
    assert (calls.explicit_bounds[0], calls.explicit_bounds[-1]) == (0.001, 10.0)
    stages = {point.attributes["stage"]: point.count for point in exported.points("secondpass.stage.duration")}
    assert stages == {"score": 3, "select": 3}


def test_outcomes_degraded_calls_and_failures_are_counted(exported: Exported) -> None:
    """Candidates are counted by outcome, degraded calls by cause, and failed ones by their error."""
    telemetry = exported.telemetry()
    Reranker(OverlapScorer(), selection=Selection(top_n=1), observers=[telemetry]).rerank("red fox", FOXES)
    Reranker(OverlapScorer(), observers=[telemetry]).rerank("q", ["a"], call=Call(0))
    Reranker(Failing(), observers=[telemetry]).rerank("q", ["a"])
    with pytest.raises(ScoringError):
        Reranker(Failing(), on_error="raise", observers=[telemetry]).rerank("q", ["a"])
    outcomes = [
        (point.attributes["model"], point.attributes["outcome"], point.value)
        for point in exported.points("secondpass.candidates")
    ]
    assert ("overlap", "over top-n", 2) in outcomes
    assert ("overlap", "duplicate", 1) in outcomes
    assert ("overlap", "kept", 2) in outcomes
    assert exported.counts("secondpass.degraded", "cause") == {"deadline": 1, "scorer failed": 1}
    assert exported.counts("secondpass.failed", "error") == {"ScoringError": 1}
    *_, failed = exported.spans_out.get_finished_spans()
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "ScoringError"
    degraded = [(span.attributes or {}).get("secondpass.degraded") for span in exported.spans_out.get_finished_spans()]
    assert degraded == [None, "deadline", "scorer failed", None]


def test_cache_hits_and_misses_are_counted(exported: Exported) -> None:
    """The second call finds all scores in the cache; of ``rerank_many`` the totals are counted once."""
    reranker = Reranker(Cached(OverlapScorer()), observers=[exported.telemetry()])
    for _ in range(2):
        reranker.rerank("red fox", ["a", "b", "c"])
    assert exported.counts("secondpass.cache.misses", "model") == {"overlap": 3}
    assert exported.counts("secondpass.cache.hits", "model") == {"overlap": 3}
    list(reranker.rerank_many((f"q{n}", ["a", "b"]) for n in range(3)))
    assert exported.counts("secondpass.cache.misses", "model") == {"overlap": 9}


class Cramped(OverlapScorer):
    """Reports batches that were halved, as an engine that runs out of memory."""

    def score_pairs(self, pairs: list[Pair], *, call: Call | None = None) -> Scored:
        scored = super().score_pairs(pairs, call=call)
        return Scored(scored.outcomes, scored.by, (Stage("score", 0.1, {"halved": 2}),))


def test_batches_that_ran_out_of_memory_are_counted(exported: Exported) -> None:
    """The retries are a counter."""
    Reranker(Cramped(), observers=[exported.telemetry()]).rerank("red fox", FOXES)
    assert exported.counts("secondpass.out_of_memory.retries", "model") == {"overlap": 2}


def langchain_calls(telemetry: Telemetry) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return a synchronous and an asynchronous call of the LangChain integration."""
    documents = pytest.importorskip("langchain_core.documents", reason="the extra langchain isn't installed")
    from secondpass.langchain import SecondPassRerank

    compressor = SecondPassRerank(model=OverlapScorer(), observers=[telemetry])
    given = {"query": "red fox", "documents": [documents.Document(page_content="a red fox")]}
    return lambda: compressor.invoke(given), lambda: compressor.ainvoke(given)


def llama_index_calls(telemetry: Telemetry) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the same of the LlamaIndex integration."""
    schema = pytest.importorskip("llama_index.core.schema", reason="the extra llama-index isn't installed")
    from secondpass.llama_index import SecondPassRerank

    postprocessor = SecondPassRerank(model=OverlapScorer(), observers=[telemetry])
    nodes = [schema.NodeWithScore(node=schema.TextNode(text="a red fox"))]
    return (
        lambda: postprocessor.postprocess_nodes(nodes, query_str="red fox"),
        lambda: postprocessor.apostprocess_nodes(nodes, query_str="red fox"),
    )


@pytest.mark.parametrize("calls", [langchain_calls, llama_index_calls], ids=["langchain", "llama_index"])
async def test_the_span_is_a_child_of_the_requests(exported: Exported, calls: Any) -> None:
    """In both frameworks, synchronously and asynchronously, the span's parent is the one that is current."""
    tracer = exported.tracers.get_tracer("app")
    call, acall = calls(exported.telemetry())
    with tracer.start_as_current_span("request") as request:
        call()
        await acall()
    parents = [span.parent for span in exported.spans_out.get_finished_spans() if span.name == "rerank"]
    assert [parent and parent.span_id for parent in parents] == [request.get_span_context().span_id] * 2


def test_settings_are_checked() -> None:
    """A negative number of documents is an error."""
    with pytest.raises(ConfigurationError, match="max_documents"):
        Telemetry(max_documents=-1)


def test_without_an_sdk_nothing_is_recorded_and_nothing_fails(exported: Exported) -> None:
    """With the API alone, calls go on as without telemetry."""
    Reranker(OverlapScorer(), observers=[Telemetry()]).rerank("red fox", FOXES)
    assert exported.spans_out.get_finished_spans() == ()


def test_the_missing_extra_is_named() -> None:
    """Without OpenTelemetry, importing the module says what to install."""
    code = (
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name.startswith('opentelemetry') else find(name, *a)\n"
        "import secondpass.observe.telemetry"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "secondpass[telemetry]"' in done.stderr


def test_notes_are_counted_by_kind(exported: Exported) -> None:
    """How often contexts may be wrong is a counter, and the span has the kinds."""
    Reranker(Scripted({"a": -9.0}), observers=[exported.telemetry()]).rerank("q", ["a"])
    assert exported.counts("secondpass.notes", "kind") == {"unlikely": 1}
    (span,) = exported.spans_out.get_finished_spans()
    assert (span.attributes or {})["secondpass.notes"] == ("unlikely",)

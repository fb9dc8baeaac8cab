"""OpenTelemetry: a span for each call with OpenInference's reranker attributes, and metrics.

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md has the attributes' names.
"""

import json
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from secondpass.errors import ConfigurationError, MissingExtra, checked

if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:  # a namespace of distributions
    raise MissingExtra("secondpass.observe.telemetry", "opentelemetry-api", "telemetry")

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from secondpass.observers import CallEvent
from secondpass.ranking import Dropped, Kept, Ranked, Ranking
from secondpass.records import Stage

_NAME = "secondpass"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTED = {
    "hits": ("secondpass.cache.hits", "Pairs whose score was in the score cache."),
    "misses": ("secondpass.cache.misses", "Pairs whose score wasn't in the score cache."),
    "halved": ("secondpass.out_of_memory.retries", "Batches that were halved since they didn't fit into memory."),
}
"""The stages' facts that are counted, each with its metric's name and description."""


@checked
class Telemetry:
    """Emits a span and metrics for each call: ``Reranker(observers=[Telemetry()])``.

    The span is a child of the current one, as of a request or a chain, and has the call's own start and end. Metrics
    are ``secondpass.rerank.duration`` and ``secondpass.stage.duration`` (histograms in seconds, from which a backend
    computes p50, p95 and p99), and counters of candidates by outcome, degraded and failed calls by cause, cache hits
    and misses, and batches that ran out of memory. Without an OpenTelemetry SDK in the process nothing is recorded.

    :param queries: Whether spans hold the query.
    :param texts: Whether spans hold the candidates' texts and metadata, and messages of errors.
    :param max_documents: How many input and output documents a span has at most. Each has two attributes, and by
        default OpenTelemetry keeps 128 of a span.
    :param tracer_provider: None takes the global one.
    :param meter_provider: None takes the global one.
    :raises ConfigurationError: If ``max_documents`` is negative.
    """

    def __init__(
        self,
        *,
        queries: bool = True,
        texts: bool = False,
        max_documents: int = 25,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        if max_documents < 0:
            raise ConfigurationError(f"max_documents must be 0 or more, got {max_documents!r}")
        self._queries = queries
        self._texts = texts
        self._max_documents = max_documents
        self._tracer = trace.get_tracer(_NAME, _version(), tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, _version(), meter_provider=meter_provider)
        self._calls = _histogram(meter, "secondpass.rerank.duration", "The duration of a call.")
        self._stages = _histogram(meter, "secondpass.stage.duration", "The duration of a stage.")
        self._candidates = meter.create_counter(
            "secondpass.candidates", "{candidate}", "Candidates by outcome: kept, or why they were dropped."
        )
        self._degraded = meter.create_counter("secondpass.degraded", "{call}", "Degraded calls, by cause.")
        self._notes = meter.create_counter(
            "secondpass.notes", "{note}", "Notes, by kind: why contexts may be wrong although the calls succeeded."
        )
        self._failed = meter.create_counter("secondpass.failed", "{call}", "Calls that raised, by the kind of error.")
        self._facts = {fact: meter.create_counter(name, "1", what) for fact, (name, what) in _COUNTED.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Telemetry":
        """Share the instruments."""
        return self

    def observe(self, event: CallEvent) -> None:
        """Emit the span and the metrics of a call."""
        start = round(event.started * 1e9)
        span = self._tracer.start_span("rerank", kind=SpanKind.INTERNAL, start_time=start)
        if isinstance(event.result, Ranking):
            self._ranked(span, event, event.result)
        else:
            self._failed_call(span, event, event.result)
        span.end(start + round(event.seconds * 1e9))

    def _ranked(self, span: trace.Span, event: CallEvent, ranking: Ranking) -> None:
        name = ranking.by.name if ranking.by else event.scorer
        if span.is_recording():
            # where an SDK keeps fewer attributes it drops those set first: the documents
            span.set_attributes(dict(self._documents(ranking)))
            span.set_attributes(self._head(event, name))
            span.set_attributes(_results(ranking))
        model = {"model": name}
        self._calls.record(event.seconds, model | {"degraded": ranking.degraded is not None})
        for stage in ranking.stages:
            self._stages.record(stage.seconds, model | {"stage": stage.name})
            self._count_facts(stage, model)
        for outcome, count in _outcomes(ranking).items():
            self._candidates.add(count, model | {"outcome": outcome})
        if ranking.degraded:
            self._degraded.add(1, model | {"cause": str(ranking.degraded.cause)})
        for note in ranking.notes:
            self._notes.add(1, model | {"kind": str(note.kind)})

    def _failed_call(self, span: trace.Span, event: CallEvent, error: BaseException) -> None:
        kind = type(error).__name__
        span.set_attributes(self._head(event, event.scorer) | {"error.type": kind})
        span.set_status(Status(StatusCode.ERROR, str(error)[:500] if self._texts else kind))
        self._failed.add(1, {"model": event.scorer, "error": kind})

    def _head(self, event: CallEvent, model: str) -> dict[str, Any]:
        head: dict[str, Any] = {"openinference.span.kind": "RERANKER", "reranker.model_name": model}
        if self._queries:
            head["reranker.query"] = event.query
        if event.selection.top_n is not None:
            head["reranker.top_k"] = event.selection.top_n
        return head

    def _documents(self, ranking: Ranking) -> Iterator[tuple[str, Any]]:
        """Yield the documents' attributes: of the inputs the first stage's scores, of the outputs the probabilities."""
        inputs = sorted((*ranking.kept, *ranking.dropped), key=lambda item: item.rank_before)
        yield from self._list("reranker.input_documents", inputs)
        yield from self._list("reranker.output_documents", ranking.kept)

    def _list(self, prefix: str, items: Sequence[Ranked]) -> Iterator[tuple[str, Any]]:
        for place, item in enumerate(items[: self._max_documents]):
            candidate, document = item.candidate, f"{prefix}.{place}.document"
            output = prefix.startswith("reranker.output")
            scores = (item.probability, item.score, candidate.score) if output else (candidate.score,)
            score = next((score for score in scores if score is not None), None)
            if candidate.id is not None:
                yield f"{document}.id", candidate.id
            if score is not None:
                yield f"{document}.score", score
            if self._texts:
                yield f"{document}.content", item.text if output and isinstance(item, Kept) else candidate.reading
                if candidate.metadata:
                    yield f"{document}.metadata", json.dumps(dict(candidate.metadata), default=str)

    def _count_facts(self, stage: Stage, model: dict[str, str]) -> None:
        queries = stage.facts.get("queries", 1)  # of rerank_many each query's stage has the facts of all of them
        for fact, counter in self._facts.items():
            value = stage.facts.get(fact)
            if isinstance(value, int | float) and isinstance(queries, int) and value:
                counter.add(value / queries, model)


def _outcomes(ranking: Ranking) -> dict[str, int]:
    reasons = Counts(str(item.reason) for item in ranking.dropped)
    return {"kept": len(ranking.kept), **reasons} if ranking.kept else dict(reasons)


def _results(ranking: Ranking) -> dict[str, Any]:
    results: dict[str, Any] = {
        "secondpass.candidates": len(ranking.kept) + len(ranking.dropped),
        "secondpass.kept": len(ranking.kept),
    }
    if ranking.tokens is not None:
        results["secondpass.tokens"] = ranking.tokens
    if ranking.degraded:
        results["secondpass.degraded"] = str(ranking.degraded.cause)
    if ranking.notes:
        results["secondpass.notes"] = [str(note.kind) for note in ranking.notes]
    results |= {f"secondpass.stage.{stage.name}.seconds": stage.seconds for stage in ranking.stages}
    return results | {f"secondpass.dropped.{reason}": count for reason, count in _reasons(ranking.dropped).items()}


def _reasons(dropped: Sequence[Dropped]) -> dict[str, int]:
    return dict(Counts(item.reason.name.lower() for item in dropped))


def _histogram(meter: metrics.Meter, name: str, what: str) -> metrics.Histogram:
    return meter.create_histogram(name, "s", what, explicit_bucket_boundaries_advisory=_SECONDS)


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return ""

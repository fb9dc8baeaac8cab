"""The postprocessor in LlamaIndex's two event systems: each start has its end."""

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.schema import NodeWithScore
from llama_support import (
    BY_RELEVANCE,
    QUESTION,
    TEXTS,
    BrokenScorer,
    EventKeeper,
    OlderKeeper,
    ids,
    overlap_postprocessor,
    scored_nodes,
)
from pydantic import Field

from secondpass import Reranker
from secondpass.errors import ScoringError
from secondpass.llama_index import SecondPassRerank


@pytest.fixture
def keeper() -> Iterator[EventKeeper]:
    """Return a handler that records the root dispatcher's rerank events."""
    keeper = EventKeeper()
    root = get_dispatcher()
    root.add_event_handler(keeper)
    yield keeper
    root.event_handlers = [handler for handler in root.event_handlers if handler is not keeper]


async def run(postprocessor: SecondPassRerank, way: str, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    """Call the postprocessor synchronously or asynchronously."""
    if way == "sync":
        return postprocessor.postprocess_nodes(nodes, query_str=QUESTION)
    return await postprocessor.apostprocess_nodes(nodes, query_str=QUESTION)


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_success_emits_a_start_and_an_end(keeper: EventKeeper, way: str) -> None:
    """The start event has query, model name, top-n and nodes; the end event has the kept nodes."""
    found = await run(overlap_postprocessor(top_n=2), way, scored_nodes())
    [start, end] = keeper.events
    assert isinstance(start, ReRankStartEvent)
    assert (start.query.query_str, start.model_name, start.top_n, ids(start.nodes)) == (
        QUESTION,
        "overlap",
        2,
        [*TEXTS],
    )
    assert isinstance(end, ReRankEndEvent)
    assert ids(end.nodes) == ids(found) == BY_RELEVANCE[:2]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_failure_emits_an_end_too(keeper: EventKeeper, way: str) -> None:
    """When scoring raises, the end event is emitted without nodes."""
    with pytest.raises(ScoringError):
        await run(SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise")), way, scored_nodes())
    assert [type(event) for event in keeper.events] == [ReRankStartEvent, ReRankEndEvent]
    assert keeper.events[1].nodes == []


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_empty_input_emits_a_start_and_an_end(keeper: EventKeeper, way: str) -> None:
    """An empty list of nodes emits both events."""
    assert await run(overlap_postprocessor(), way, []) == []
    assert [type(event) for event in keeper.events] == [ReRankStartEvent, ReRankEndEvent]
    assert keeper.events[0].top_n == 5


def test_nodes_of_the_start_event_are_not_changed_afterwards(keeper: EventKeeper) -> None:
    """The start event's nodes are the input nodes, also after the call."""
    overlap_postprocessor().postprocess_nodes(scored_nodes(), query_str=QUESTION)
    held = keeper.events[0].nodes
    assert [scored.to_dict() for scored in held] == [scored.to_dict() for scored in scored_nodes()]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_older_callbacks_get_the_events_as_well(way: str) -> None:
    """A callback handler gets one reranking event, with query, model name, top-n and nodes."""
    older = OlderKeeper()
    found = await run(overlap_postprocessor(top_n=2, callback_manager=CallbackManager([older])), way, scored_nodes())
    [(first, start_id, start), (last, end_id, end)] = older.events
    assert (first, last, start_id) == ("start", "end", end_id)
    assert [start[key] for key in (EventPayload.QUERY_STR, EventPayload.MODEL_NAME, EventPayload.TOP_K)] == [
        QUESTION,
        "overlap",
        2,
    ]
    assert (ids(start[EventPayload.NODES]), ids(end[EventPayload.NODES])) == ([*TEXTS], ids(found))


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_older_callbacks_get_the_failure(way: str) -> None:
    """When scoring raises, the callback event ends with the exception."""
    older = OlderKeeper()
    reranker = Reranker(BrokenScorer(), on_error="raise")
    postprocessor = SecondPassRerank(reranker=reranker, callback_manager=CallbackManager([older]))
    with pytest.raises(ScoringError) as raised:
        await run(postprocessor, way, scored_nodes())
    assert [kind for kind, _, _ in older.events] == ["start", "end"]
    assert older.events[1][2] == {EventPayload.EXCEPTION: raised.value}


def test_older_callbacks_get_both_events_for_empty_input() -> None:
    """An empty list of nodes gives the callbacks a start and an end too."""
    older = OlderKeeper()
    overlap_postprocessor(callback_manager=CallbackManager([older])).postprocess_nodes([], query_str=QUESTION)
    assert [kind for kind, _, _ in older.events] == ["start", "end"]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_ranking_without_a_query_engine_emits_the_events_too(keeper: EventKeeper, way: str) -> None:
    """``rank`` and ``arank`` are traced as the postprocessor is, each once, and so is their failure."""
    postprocessor = overlap_postprocessor(top_n=2)
    rank = postprocessor.rank if way == "sync" else postprocessor.arank
    result = rank(scored_nodes(), QUESTION)
    ranking = result if way == "sync" else await result  # type: ignore[misc]
    [start, end] = keeper.events
    assert (start.query.query_str, start.top_n, ids(start.nodes)) == (QUESTION, 2, [*TEXTS])
    assert ids(end.nodes) == [kept.candidate.id for kept in ranking.kept] == BY_RELEVANCE[:2]
    failing = SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise"))
    with pytest.raises(ScoringError):
        failing.rank(scored_nodes(), QUESTION)
    assert [type(event) for event in keeper.events[2:]] == [ReRankStartEvent, ReRankEndEvent]


class Spans(BaseSpanHandler[BaseSpan]):
    """Keeps the ids of the spans that were begun, with their parents."""

    begun: list[tuple[str, str | None]] = Field(default_factory=list)

    def new_span(self, id_: str, *_: Any, parent_span_id: str | None = None, **__: Any) -> BaseSpan:
        self.begun.append((id_, parent_span_id))
        return BaseSpan(id_=id_, parent_id=parent_span_id)

    def prepare_to_exit_span(self, id_: str, *_: Any, **__: Any) -> BaseSpan:
        return self.open_spans[id_]

    def prepare_to_drop_span(self, id_: str, *_: Any, **__: Any) -> BaseSpan:
        return self.open_spans[id_]


@pytest.mark.parametrize("way", ["sync", "async", "rank", "arank"])
async def test_each_call_is_one_span_with_its_events(keeper: EventKeeper, way: str) -> None:
    """A call has a span of its own, whose id its events carry: they aren't attributes of the engine around it."""
    spans, root, postprocessor = Spans(), get_dispatcher(), overlap_postprocessor()
    root.add_span_handler(spans)
    try:
        if way == "rank":
            postprocessor.rank(scored_nodes(), QUESTION)
        elif way == "arank":
            await postprocessor.arank(scored_nodes(), QUESTION)
        else:
            await run(postprocessor, way, scored_nodes())
    finally:
        root.span_handlers = [handler for handler in root.span_handlers if handler is not spans]
    [(begun, parent)] = spans.begun
    assert begun.startswith("SecondPassRerank.")
    assert parent is None
    assert {event.span_id for event in keeper.events} == {begun}

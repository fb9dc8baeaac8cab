"""The postprocessor in LlamaIndex's two event systems: always a start, and always an end."""

from collections.abc import Iterator

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import NodeWithScore
from llama_worlds import (
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

from secondpass import Reranker
from secondpass.errors import ScoringError
from secondpass.llama_index import SecondPassRerank


@pytest.fixture
def keeper() -> Iterator[EventKeeper]:
    """Listen at the root dispatcher while a test runs."""
    keeper = EventKeeper()
    root = get_dispatcher()
    root.add_event_handler(keeper)
    yield keeper
    root.event_handlers = [handler for handler in root.event_handlers if handler is not keeper]


async def run(postprocessor: SecondPassRerank, way: str, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    """Call the postprocessor in one of its two ways."""
    if way == "sync":
        return postprocessor.postprocess_nodes(nodes, query_str=QUESTION)
    return await postprocessor.apostprocess_nodes(nodes, query_str=QUESTION)


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_success_is_told_as_a_start_and_an_end(keeper: EventKeeper, way: str) -> None:
    """The start tells question, model, number and nodes; the end tells the nodes that were kept."""
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
async def test_failure_has_its_end_too(keeper: EventKeeper, way: str) -> None:
    """When scoring raises, the end comes all the same, without nodes."""
    with pytest.raises(ScoringError):
        await run(SecondPassRerank(reranker=Reranker(BrokenScorer(), on_error="raise")), way, scored_nodes())
    assert [type(event) for event in keeper.events] == [ReRankStartEvent, ReRankEndEvent]
    assert keeper.events[1].nodes == []


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_empty_input_is_told_as_a_pair(keeper: EventKeeper, way: str) -> None:
    """No nodes make a start and an end as well."""
    assert await run(overlap_postprocessor(), way, []) == []
    assert [type(event) for event in keeper.events] == [ReRankStartEvent, ReRankEndEvent]
    assert keeper.events[0].top_n == 0


def test_nodes_of_the_start_event_are_not_changed_afterwards(keeper: EventKeeper) -> None:
    """What the start event holds is what went in, also after the pass."""
    overlap_postprocessor().postprocess_nodes(scored_nodes(), query_str=QUESTION)
    held = keeper.events[0].nodes
    assert [scored.to_dict() for scored in held] == [scored.to_dict() for scored in scored_nodes()]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_older_callbacks_are_told_as_well(way: str) -> None:
    """A handler of the older kind sees one reranking event, with question, model, number and nodes."""
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
async def test_older_callbacks_are_told_of_the_failure(way: str) -> None:
    """When scoring raises, the older event ends with the exception."""
    older = OlderKeeper()
    reranker = Reranker(BrokenScorer(), on_error="raise")
    postprocessor = SecondPassRerank(reranker=reranker, callback_manager=CallbackManager([older]))
    with pytest.raises(ScoringError) as raised:
        await run(postprocessor, way, scored_nodes())
    assert [kind for kind, _, _ in older.events] == ["start", "end"]
    assert older.events[1][2] == {EventPayload.EXCEPTION: raised.value}


def test_older_callbacks_see_empty_input_as_a_pair() -> None:
    """No nodes make a start and an end there too."""
    older = OlderKeeper()
    overlap_postprocessor(callback_manager=CallbackManager([older])).postprocess_nodes([], query_str=QUESTION)
    assert [kind for kind, _, _ in older.events] == ["start", "end"]

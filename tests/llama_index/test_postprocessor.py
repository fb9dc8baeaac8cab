"""The LlamaIndex door: copies out, events in pairs, nothing of ours in front of the LLM, settings that travel."""

import asyncio
import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import CustomLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

from secondpass import ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, InputError, ModelNotFound, ScoringError
from secondpass.llama_index import CrossEncoderPostprocessor
from secondpass.scores import Call, Pair, Scored
from secondpass.scoring.protocol import BaseScorer

QUESTION = "how long does a flea live"
TEXTS = ["a dog barks", "a flea can live for a year", "how long is a river", "fleas jump"]


class BrokenScorer(OverlapScorer):
    """A scorer whose library fails."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Fail."""
        raise ScoringError("the card fell off the bus")


class ListeningLLM(CustomLLM):
    """An LLM that answers the same thing always, and remembers what it was asked."""

    asked: list[str]

    @property
    def metadata(self) -> LLMMetadata:
        """State a window."""
        return LLMMetadata(context_window=4000, num_output=200)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Remember and answer."""
        self.asked.append(prompt)
        return CompletionResponse(text="a year")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Stream nothing."""
        raise NotImplementedError


class Recorder(BaseEventHandler):
    """Keeps the names of rerank events and the nodes of the first."""

    seen: list[Any]

    def handle(self, event: Any, **kwargs: Any) -> None:
        """Remember rerank events."""
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.seen.append(event)


class OlderRecorder(BaseCallbackHandler):
    """Keeps the starts and ends of the older callback."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.seen: list[str] = []

    def on_event_start(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **_: Any) -> str:
        """Remember a start."""
        self.seen.append(f"start {event_type.value}")
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **_: Any) -> None:
        """Remember an end."""
        self.seen.append(f"end {event_type.value}")

    def start_trace(self, trace_id: str | None = None) -> None:
        """Do nothing."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Do nothing."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Listen to all events of one test."""
    handler = Recorder(seen=[])
    root = get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


def nodes(*texts: str, **more: Any) -> list[NodeWithScore]:
    """Return scored nodes, best first."""
    return [
        NodeWithScore(node=TextNode(text=text, id_=f"n{i}", metadata={"file": "a.txt"}, **more), score=1 / (i + 1))
        for i, text in enumerate(texts or TEXTS)
    ]


def door(scorer: BaseScorer | None = None, selection: Selection | None = None, **settings: Any) -> Any:
    """Return a postprocessor over shared words, reading the bare text."""
    reranker = Reranker(scorer or OverlapScorer(), selection=selection)
    return CrossEncoderPostprocessor(reranker=reranker, metadata_mode=MetadataMode.NONE, **settings)


def test_nodes_come_back_reordered_with_plain_float_scores() -> None:
    """The best node is first, and its score is a float that JSON takes."""
    found = door().postprocess_nodes(nodes(), query_str=QUESTION)
    assert [node.node_id for node in found] == ["n1", "n2", "n0", "n3"]
    assert json.loads(json.dumps([node.score for node in found]))[0] == pytest.approx(0.5)


def test_the_callers_nodes_are_untouched() -> None:
    """Scores, metadata and excluded keys of what came in are as before."""
    given = nodes()
    before = [node.model_dump_json() for node in given]
    door(top_n=2).postprocess_nodes(given, query_str=QUESTION)
    assert [node.model_dump_json() for node in given] == before


def test_a_nodes_class_and_fields_survive() -> None:
    """An index node comes back as one, with its id and what it points to."""
    given = [NodeWithScore(node=IndexNode(text="a flea", id_="x", index_id="tail", metadata={"page": 7}))]
    (found,) = door().postprocess_nodes(given, query_str=QUESTION)
    assert isinstance(found.node, IndexNode)
    assert (found.node.index_id, found.node.node_id, found.node.metadata["page"]) == ("tail", "x", 7)


@pytest.mark.parametrize("mode", [MetadataMode.LLM, MetadataMode.EMBED])
def test_our_entry_is_never_read(mode: MetadataMode) -> None:
    """What the door adds reaches neither the prompt nor the embedding, even after two passes."""
    given = nodes()
    once = door().postprocess_nodes(given, query_str=QUESTION)
    twice = door().postprocess_nodes(once, query_str=QUESTION)
    by_id = {node.node_id: node.get_content(metadata_mode=mode) for node in given}
    assert all(node.get_content(metadata_mode=mode) == by_id[node.node_id] for node in twice)
    assert twice[0].metadata["secondpass"]["rank_before"] == 1


def test_the_model_reads_what_metadata_mode_says() -> None:
    """By default the metadata meant for embeddings is read with the text."""
    given = [NodeWithScore(node=TextNode(text="nothing", metadata={"title": QUESTION}))]
    embed = CrossEncoderPostprocessor(reranker=Reranker(OverlapScorer()))
    assert embed.rank(given, QUESTION).kept[0].score == 1.0
    assert door().rank(given, QUESTION).kept[0].score == 0.0


def test_the_budget_counts_what_the_llm_reads() -> None:
    """Metadata that only the LLM sees counts, even though the model scores the bare text."""
    words = ContextBudget(max_tokens=8, counter=lambda text: len(text.split()))
    ranking = door(budget=words).rank(nodes(), QUESTION)
    assert ranking.context == "file: a.txt\n\nhow long is a river"
    assert ranking.tokens == 7


@pytest.mark.parametrize("metadata", [{}, {"file": "a.txt"}, {"abstract": "many words " * 20}])
def test_a_truncated_node_reads_as_the_kept_text(metadata: dict[str, str]) -> None:
    """After a cut, what the LLM reads of the node is exactly what the budget counted."""
    text = "A flea can live long. It can live for a year. It has many friends."
    budget = ContextBudget(max_tokens=14, counter=lambda text: len(text.split()))
    post = door(budget=budget, policy="truncate")
    given = [NodeWithScore(node=TextNode(text=text, metadata=metadata))]
    ranking = post.rank(given, QUESTION)
    found = post.postprocess_nodes(given, query_str=QUESTION)
    assert [node.get_content(metadata_mode=MetadataMode.LLM) for node in found] == [k.text for k in ranking.kept]
    assert ranking.tokens is not None
    assert ranking.tokens <= 14


def test_missing_first_stage_scores_are_no_problem() -> None:
    """Nodes without a score are ranked like the others."""
    given = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    assert len(door().postprocess_nodes(given, query_str=QUESTION)) == 4


def test_a_failing_scorer_gives_the_first_stages_order() -> None:
    """The nodes come back as they were ordered, marked, without a score."""
    found = door(BrokenScorer()).postprocess_nodes(nodes(), query_str=QUESTION)
    assert [node.node_id for node in found] == ["n0", "n1", "n2", "n3"]
    assert [node.score for node in found] == [None] * 4
    assert "fell off the bus" in found[0].metadata["secondpass"]["degraded"]


def test_the_question_is_required() -> None:
    """Without a question there is an error that says how to give one."""
    with pytest.raises(InputError, match="query_str"):
        door().postprocess_nodes(nodes())


async def test_async_gives_the_same() -> None:
    """The asynchronous way keeps the same nodes with the same scores."""
    post = door(top_n=2)
    found = await post.apostprocess_nodes(nodes(), query_bundle=QueryBundle(QUESTION))
    assert found == post.postprocess_nodes(nodes(), query_str=QUESTION)


async def test_a_cancelled_task_cancels_its_call() -> None:
    """When the caller's task is cancelled, the scorer is told that nobody waits."""
    started, calls = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    class Slow(OverlapScorer):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            calls.append(call)
            loop.call_soon_threadsafe(started.set)
            while call and not call.over():
                pass
            return super().score_pairs(pairs, call=call)

    task = asyncio.create_task(door(Slow()).apostprocess_nodes(nodes(), query_str=QUESTION))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls[0].over() == "cancelled"


@pytest.mark.parametrize("count", [4, 0], ids=["nodes", "no-nodes"])
def test_events_come_in_pairs(recorder: Recorder, count: int) -> None:
    """Both event systems see a start and an end, also where there is nothing to rank."""
    older = OlderRecorder()
    post = door(callback_manager=CallbackManager([older]))
    post.postprocess_nodes(nodes()[:count], query_str=QUESTION)
    assert [type(event) for event in recorder.seen] == [ReRankStartEvent, ReRankEndEvent]
    assert older.seen == ["start reranking", "end reranking"]


def test_events_come_in_pairs_when_the_work_fails(recorder: Recorder) -> None:
    """A failure that is raised still ends what was started."""
    older = OlderRecorder()
    reranker = Reranker(BrokenScorer(), on_error="raise")
    post = CrossEncoderPostprocessor(reranker=reranker, callback_manager=CallbackManager([older]))
    with pytest.raises(ScoringError):
        post.postprocess_nodes(nodes(), query_str=QUESTION)
    assert [type(event) for event in recorder.seen] == [ReRankStartEvent, ReRankEndEvent]
    assert older.seen[0] == "start reranking"
    assert older.seen.count("end reranking") == 1


def test_an_events_nodes_stay_as_they_were(recorder: Recorder) -> None:
    """The start event shows the first stage's scores, whatever happens afterwards."""
    door().postprocess_nodes(nodes(), query_str=QUESTION)
    assert [node.score for node in recorder.seen[0].nodes] == [1.0, 1 / 2, 1 / 3, 1 / 4]


def test_settings_travel() -> None:
    """``to_dict``, JSON and pickle give back a postprocessor with the same settings, whose model isn't loaded yet."""
    given = CrossEncoderPostprocessor(model="no/such-model", top_n=3, budget=100, device="cpu", policy="prefix")
    copies = [
        CrossEncoderPostprocessor.from_dict(given.to_dict()),
        CrossEncoderPostprocessor.from_json(given.to_json()),
        pickle.loads(pickle.dumps(given)),
    ]
    assert [copy.to_dict() for copy in copies] == [given.to_dict()] * 3


@pytest.mark.parametrize(
    "live",
    [
        {"reranker": Reranker(OverlapScorer())},
        {"model": "m", "budget": lambda query: 100},
        {"model": "m", "budget": ContextBudget(100, counter=len)},
    ],
    ids=["reranker", "callable", "counter"],
)
def test_live_objects_say_that_they_cannot_travel(live: dict[str, Any]) -> None:
    """What can't be written down is an error that names it, for dictionaries and for pickles."""
    post = CrossEncoderPostprocessor(**live)
    with pytest.raises(ConfigurationError, match="live objects"):
        post.to_dict()
    with pytest.raises(ConfigurationError, match="live objects"):
        pickle.dumps(post)


def test_a_restored_door_works(reranker_folder: Path) -> None:
    """From a dictionary or a pickle comes a door that ranks like the first, with real weights."""
    given = CrossEncoderPostprocessor(model=str(reranker_folder), top_n=1, budget=ContextBudget(100, separator="\n"))
    wanted = given.postprocess_nodes(nodes(), query_str=QUESTION)
    for copy in (CrossEncoderPostprocessor.from_dict(given.to_dict()), pickle.loads(pickle.dumps(given))):
        assert copy.postprocess_nodes(nodes(), query_str=QUESTION) == wanted
    assert wanted[0].node_id == "n1"


def test_a_missing_model_raises_on_the_first_question_only() -> None:
    """Making a door fetches nothing; a model that isn't there is an error, and never a degraded ranking."""
    post = CrossEncoderPostprocessor(model="./no-such-folder")
    with pytest.raises(ModelNotFound):
        post.postprocess_nodes(nodes(), query_str=QUESTION)


@pytest.fixture
def index(tmp_path: Path) -> VectorStoreIndex:
    """Put a LlamaIndex index over a real Chroma collection."""
    import chromadb

    collection = chromadb.PersistentClient(str(tmp_path)).create_collection("fleas")
    built = VectorStoreIndex.from_vector_store(ChromaVectorStore(collection), embed_model=MockEmbedding(embed_dim=4))
    built.insert_nodes([TextNode(text=text, id_=f"n{i}") for i, text in enumerate(TEXTS)])
    return built


@pytest.mark.filterwarnings("default")  # the frameworks' own deprecations
def test_a_query_engine_answers_from_what_was_kept(index: VectorStoreIndex) -> None:
    """From question to answer over real Chroma, the LLM reads the kept nodes and nothing that was dropped."""
    llm = ListeningLLM(asked=[])
    engine = index.as_query_engine(llm=llm, similarity_top_k=4, node_postprocessors=[door(top_n=2)])
    answer = engine.query(QUESTION)
    assert str(answer) == "a year"
    assert "a flea can live for a year" in llm.asked[0]
    assert not any(word in llm.asked[0] for word in ("barks", "jump", "secondpass", "rank_before"))


@pytest.mark.filterwarnings("default")
def test_a_chat_engine_has_its_budget_computed_for_each_turn(index: VectorStoreIndex) -> None:
    """A callable budget is asked anew for every question, and can read the LLM's window and the history."""
    llm = ListeningLLM(asked=[])
    budgets: list[ContextBudget] = []

    def budget(query: str) -> ContextBudget:
        history = engine.chat_history
        budgets.append(ContextBudget.for_llm(llm, question=query, history=history))
        return budgets[-1]

    engine = ContextChatEngine.from_defaults(
        retriever=index.as_retriever(similarity_top_k=4),
        llm=llm,
        node_postprocessors=[door(budget=budget)],
        memory=ChatMemoryBuffer.from_defaults(),
    )
    for _ in range(2):
        engine.chat(QUESTION)
    assert budgets[1].max_tokens < budgets[0].max_tokens
    assert "window 4000 - output 200" in budgets[0].origin


@pytest.mark.filterwarnings("default")
async def test_a_retriever_evaluator_sees_the_second_pass(index: VectorStoreIndex) -> None:
    """LlamaIndex's own evaluator calls the door inside a running loop, and finds the right node first."""
    evaluator = RetrieverEvaluator.from_metric_names(
        ["mrr"], retriever=index.as_retriever(similarity_top_k=4), node_postprocessors=[door()]
    )
    result = await evaluator.aevaluate(query=QUESTION, expected_ids=["n1"])
    assert result.metric_vals_dict == {"mrr": 1.0}

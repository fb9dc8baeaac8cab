"""Nodes, an embedding, an LLM that keeps its prompts, and recording event handlers for the LlamaIndex tests."""

from collections.abc import Sequence
from typing import Any

from integration_support import BY_RELEVANCE, QUESTION, TEXTS, BrokenScorer, WaitingScorer, tokens, word_vector
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import PrivateAttr

from secondpass import Call, OverlapScorer, Reranker
from secondpass.llama_index import SecondPassRerank
from secondpass.records import Pair, Scored

__all__ = [
    "BY_RELEVANCE",
    "QUESTION",
    "TEXTS",
    "BrokenScorer",
    "EventKeeper",
    "OlderKeeper",
    "PromptKeeper",
    "ReadingScorer",
    "WaitingScorer",
    "WordEmbedding",
    "ids",
    "overlap_postprocessor",
    "scored_nodes",
    "text_nodes",
    "tokens",
]


def text_nodes() -> list[TextNode]:
    """Return the nodes, each with its file in the metadata."""
    return [TextNode(text=text, id_=name, metadata={"file": f"{name}.txt"}) for name, text in TEXTS.items()]


def scored_nodes() -> list[NodeWithScore]:
    """Return the nodes in the first stage's order, with its scores."""
    return [NodeWithScore(node=node, score=0.9 - rank / 10) for rank, node in enumerate(text_nodes())]


def ids(found: Sequence[NodeWithScore]) -> list[str]:
    """Return the nodes' ids."""
    return [scored.node.node_id for scored in found]


def overlap_postprocessor(**settings: Any) -> SecondPassRerank:
    """Return a postprocessor over ``OverlapScorer``."""
    return SecondPassRerank(reranker=Reranker(OverlapScorer()), **settings)


class ReadingScorer(OverlapScorer):
    """Keeps the texts that it was given."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.read = [pair.text for pair in pairs]
        return super().score_pairs(pairs, call=call)


class WordEmbedding(BaseEmbedding):
    """Embeds texts as hashed word counts."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return word_vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class PromptKeeper(CustomLLM):
    """An LLM that answers the same to everything, and keeps what it was asked."""

    window: int = 4000
    _prompts: list[str] = PrivateAttr(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        return self._prompts

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=self.window, num_output=50)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._prompts.append(prompt)
        return CompletionResponse(text="September.")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise NotImplementedError


class EventKeeper(BaseEventHandler):
    """Keeps the rerank events of LlamaIndex's instrumentation."""

    events: list[BaseEvent] = []  # noqa: RUF012  # pydantic copies it for each handler

    @classmethod
    def class_name(cls) -> str:
        return "EventKeeper"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.events.append(event)


class OlderKeeper(BaseCallbackHandler):
    """Keeps the rerank events of LlamaIndex's older callbacks, as (start or end, event id, payload)."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def on_event_start(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **kwargs: Any) -> str:
        if event_type is CBEventType.RERANKING:
            self.events.append(("start", event_id, payload or {}))
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **kwargs: Any) -> None:
        if event_type is CBEventType.RERANKING:
            self.events.append(("end", event_id, payload or {}))

    def start_trace(self, trace_id: str | None = None) -> None:
        pass

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        pass

"""The LlamaIndex door: a node postprocessor. Nodes in, the ones worth the context out, as copies."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from secondpass.errors import InputError, MissingExtra

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise MissingExtra("secondpass.llama_index", "llama-index-core", "llama-index")

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import ConfigDict

from secondpass.candidates import Candidate
from secondpass.doors import ENTRY, DoorSettings, metadata_entry
from secondpass.models import DEFAULT_MODEL
from secondpass.ranking import Kept, Ranking
from secondpass.scores import Call

__all__ = ["CrossEncoderPostprocessor"]

_dispatcher = get_dispatcher(__name__)


@dataclass(slots=True)
class _Event:
    """What an event's end will tell."""

    nodes: list[NodeWithScore] = field(default_factory=list)


class CrossEncoderPostprocessor(DoorSettings, BaseNodePostprocessor):
    """Reads every node with the question, and keeps those that are worth the LLM's context.

    What comes back are copies; the nodes' ids, classes and metadata stay, ``score`` becomes the model's probability,
    and a small record with the raw score and both ranks goes into ``metadata["secondpass"]``, kept out of the LLM's
    prompt and of embeddings.

    :param metadata_mode: What of a node the model reads: its text with the metadata meant for embeddings (``EMBED``,
        the default, as its peers do), for the LLM, all, or none. The budget always counts what the LLM will read.

    The other settings are those of ``DoorSettings``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    metadata_mode: MetadataMode = MetadataMode.EMBED

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex writes into serialised settings."""
        return "CrossEncoderPostprocessor"

    def rank(self, nodes: Sequence[NodeWithScore], query: str | QueryBundle) -> Ranking:
        """Return the whole ranking, each candidate with its node as payload.

        :param nodes: What the first stage found, best first.
        :param query: The question.
        """
        return self._rerank(_query_text(query), self._candidates(nodes))

    async def arank(self, nodes: Sequence[NodeWithScore], query: str | QueryBundle) -> Ranking:
        """Do what ``rank`` does, on threads of the postprocessor's own; a cancelled task cancels the scoring."""

        def work(call: Call) -> Ranking:
            return self._rerank(_query_text(query), self._candidates(nodes), call)

        return await self._in_thread(work)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings as plain data for ``from_dict``.

        :raises ConfigurationError: If the postprocessor was made from live objects.
        """
        self.settings()
        return super().to_dict(**kwargs)

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as plain data.

        :raises ConfigurationError: If the postprocessor was made from live objects.
        """
        return super().settings() | {"metadata_mode": self.metadata_mode.value}

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _required(query_bundle)
        with self._reported(nodes, query) as event:
            event.nodes = _kept_nodes(self.rank(nodes, query))
        return event.nodes

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _required(query_bundle)
        with self._reported(nodes, query) as event:
            event.nodes = _kept_nodes(await self.arank(nodes, query))
        return event.nodes

    def _candidates(self, nodes: Sequence[NodeWithScore]) -> list[Candidate]:
        return [self._candidate(node) for node in nodes]

    def _candidate(self, scored: NodeWithScore) -> Candidate:
        node = _without_entry(scored.node)
        return Candidate(
            node.get_content(metadata_mode=self.metadata_mode),
            id=node.node_id,
            score=scored.score,
            prompt_text=node.get_content(metadata_mode=MetadataMode.LLM),
            payload=scored,
        )

    @contextmanager
    def _reported(self, nodes: list[NodeWithScore], query: QueryBundle) -> Iterator[_Event]:
        """Tell both of LlamaIndex's event systems: always a start, and always an end, also when the work fails."""
        name = self.reranker.scorer.spec.name if self.reranker else self.model or DEFAULT_MODEL
        top_n = self.top_n or len(nodes)
        start: dict[str, Any] = {
            EventPayload.NODES: list(nodes),
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        event = _Event()
        _dispatcher.event(ReRankStartEvent(query=query, nodes=list(nodes), top_n=top_n, model_name=name))
        with self.callback_manager.event(CBEventType.RERANKING, payload=start) as older:
            try:
                yield event
                older.on_end(payload={EventPayload.NODES: event.nodes})  # an error is told by the manager itself
            finally:
                _dispatcher.event(ReRankEndEvent(nodes=event.nodes))


def _required(query: QueryBundle | None) -> QueryBundle:
    if query is None:
        raise InputError("the question is missing: call postprocess_nodes(nodes, query_str=...) or give a query_bundle")
    return query


def _query_text(query: str | QueryBundle) -> str:
    return query.query_str if isinstance(query, QueryBundle) else query


def _kept_nodes(ranking: Ranking) -> list[NodeWithScore]:
    return [_kept_node(kept, ranking) for kept in ranking.kept]


def _kept_node(kept: Kept, ranking: Ranking) -> NodeWithScore:
    scored = kept.candidate.payload
    if not isinstance(scored, NodeWithScore):
        raise InputError(f"the ranking's payloads must be NodeWithScores, got {type(scored).__name__}")
    node: BaseNode = scored.node.model_copy(
        update={
            "metadata": scored.node.metadata | {ENTRY: metadata_entry(kept, kept.rank, ranking)},
            "excluded_llm_metadata_keys": _with_entry(scored.node.excluded_llm_metadata_keys),
            "excluded_embed_metadata_keys": _with_entry(scored.node.excluded_embed_metadata_keys),
        }
    )
    if kept.text != kept.candidate.reading:
        node = _cut(node, kept)
    return scored.model_copy(update={"node": node, "score": kept.probability})


def _without_entry(node: BaseNode) -> BaseNode:
    """Return the node as it was before an earlier pass: ``MetadataMode.ALL`` would show the model its own entry."""
    if ENTRY not in node.metadata:
        return node
    return node.model_copy(update={"metadata": {name: node.metadata[name] for name in node.metadata if name != ENTRY}})


def _with_entry(keys: list[str]) -> list[str]:
    return keys if ENTRY in keys else [*keys, ENTRY]


def _cut(node: BaseNode, kept: Kept) -> BaseNode:
    """Shorten the copied node so that the LLM reads the kept text and no more."""
    content = node.get_content(metadata_mode=MetadataMode.NONE).strip()
    start = kept.candidate.reading.rfind(content)
    node.set_content(kept.text[start:] if start >= 0 else kept.text)
    if node.get_content(metadata_mode=MetadataMode.LLM) != kept.text:
        # the cut fell into the metadata, or the node's template writes something behind the text
        node.excluded_llm_metadata_keys = [*node.metadata]
        node.set_content(kept.text)
    return node

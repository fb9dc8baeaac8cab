"""LlamaIndex integration: a node postprocessor."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from secondpass.errors import InputError, MissingExtra

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:  # a namespace of several distributions
    raise MissingExtra("secondpass.llama_index", "llama-index-core", "llama-index")

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index_instrumentation import get_dispatcher
from pydantic import ConfigDict

from secondpass.integration import (
    ENTRY,
    IntegrationSettings,
    checked_items,
    metadata_entry,
    relevance_score,
    source_of,
)
from secondpass.ranking import Kept, Ranking
from secondpass.records import Candidate
from secondpass.selection.call_options import NO_OPTIONS, CallOptions
from secondpass.selection.filters import Results

__all__ = ["SecondPassRerank"]

_MEDIA = ("image", "image_path", "image_url", "image_resource", "audio_resource", "video_resource")
_dispatcher = get_dispatcher(__name__)


class SecondPassRerank(IntegrationSettings, BaseNodePostprocessor):
    """Reranks nodes against the query, and keeps those that fit ``top_n`` and the context budget.

    It returns copies with id, class and metadata. ``score`` is the probability of relevance, and
    ``metadata["secondpass"]`` a record with the raw score and both ranks, excluded from prompts and embeddings. In a
    degraded pass, which the record marks, nodes without a score keep the first stage's.

    :param metadata_mode: The form of a node that the model reads, and ``{text}`` in ``score_text``: with the metadata
        for embeddings (``EMBED``), for the LLM (``LLM``), ``ALL`` or ``NONE``. None is ``EMBED``, and with
        ``score_text`` ``NONE``. The budget always counts the form that the LLM reads.
    :param keep_retrieval_score: Whether to write the first-stage score, where there is one, to
        ``metadata["retrieval_score"]``, which is excluded from prompts and embeddings.

    All other settings are those of ``IntegrationSettings``.
    """

    model_config = ConfigDict(extra="forbid")  # of several bases the last one's would count

    metadata_mode: MetadataMode | None = None
    keep_retrieval_score: bool = False

    @classmethod
    def class_name(cls) -> str:
        """Return the name in LlamaIndex's serialised settings."""
        return "SecondPassRerank"

    @_dispatcher.span
    def rank(self, nodes: Iterable[NodeWithScore], query: str | QueryBundle, *, exclude: Results = ()) -> Ranking:
        """Return the ranking, each candidate with its node as payload.

        :param nodes: The first stage's nodes, best first.
        :param query: The query.
        :param exclude: Earlier results that are not to be kept again: a ranking, nodes, or ids.
        :raises InputError: If an argument has the wrong type.
        """
        return self._traced(nodes, query, CallOptions(exclude=exclude))[0]

    @_dispatcher.span
    async def arank(
        self, nodes: Iterable[NodeWithScore], query: str | QueryBundle, *, exclude: Results = ()
    ) -> Ranking:
        """Return what ``rank`` returns, without blocking the event loop; cancelling the task cancels the scoring."""
        return (await self._atraced(nodes, query, CallOptions(exclude=exclude)))[0]

    def nodes(self, ranking: Ranking) -> list[NodeWithScore]:
        """Return copies of the nodes that a ranking of this class kept, in reading order."""
        return [self._kept_node(kept, ranking) for kept in ranking.kept]

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._traced(nodes, _required(query_bundle))[1]

    @_dispatcher.span  # the base class has it on the abstract methods alone
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return (await self._atraced(nodes, _required(query_bundle)))[1]

    def _traced(
        self, nodes: Iterable[NodeWithScore], query: str | QueryBundle, options: CallOptions = NO_OPTIONS
    ) -> tuple[Ranking, list[NodeWithScore]]:
        """Return the ranking and the kept nodes, between the events of their start and end."""
        query, nodes = _bundle(query), _checked(nodes)
        with self._events(nodes, query) as kept:
            ranking = self._rerank(query.query_str, self._candidates(nodes), options)
            kept.extend(self.nodes(ranking))
        return ranking, kept

    async def _atraced(
        self, nodes: Iterable[NodeWithScore], query: str | QueryBundle, options: CallOptions = NO_OPTIONS
    ) -> tuple[Ranking, list[NodeWithScore]]:
        """Return what ``_traced`` returns, without blocking the event loop."""
        query, nodes = _bundle(query), _checked(nodes)
        with self._events(nodes, query) as kept:
            ranking = await self._arerank(query.query_str, self._candidates(nodes), options)
            kept.extend(self.nodes(ranking))
        return ranking, kept

    def _candidates(self, nodes: Iterable[NodeWithScore]) -> list[Candidate]:
        return self._with_fields([self._candidate(node) for node in nodes])

    def _candidate(self, scored: NodeWithScore) -> Candidate:
        node = _without_entry(scored.node)
        keys = (self.source_key,) if self.source_key else ("source", "file_name")
        parents = () if self.source_key else (node.ref_doc_id,)
        prompt_text = node.get_content(metadata_mode=MetadataMode.LLM)
        own_text = node.get_content(metadata_mode=MetadataMode.NONE).strip()
        default = MetadataMode.EMBED if self.score_text is None else MetadataMode.NONE
        return Candidate(
            node.get_content(metadata_mode=self.metadata_mode or default),
            id=node.node_id,
            score=scored.score,
            source=source_of([*map(node.metadata.get, keys), *parents]),
            metadata=node.metadata,
            prompt_text=prompt_text,
            header_length=max(0, prompt_text.rfind(own_text)) if own_text else 0,
            media=any(getattr(node, name, None) for name in _MEDIA),
            payload=scored,
        )

    def _convert(self, item: Any) -> Any:
        """Return a node as a candidate; other items stay as they are."""
        item = NodeWithScore(node=item) if isinstance(item, BaseNode) else item
        return self._earlier(self._candidate(item)) if isinstance(item, NodeWithScore) else item

    def _kept_node(self, kept: Kept, ranking: Ranking) -> NodeWithScore:
        scored = kept.candidate.payload
        if not isinstance(scored, NodeWithScore):
            raise InputError(f"the ranking's payloads must be NodeWithScores, got {type(scored).__name__}")
        added: dict[str, Any] = {ENTRY: metadata_entry(kept, ranking)} if self.add_metadata else {}
        if self.keep_retrieval_score and kept.candidate.score is not None:
            added["retrieval_score"] = kept.candidate.score
        node: BaseNode = scored.node.model_copy(
            update={
                "metadata": scored.node.metadata | added,
                "excluded_llm_metadata_keys": _with(scored.node.excluded_llm_metadata_keys, added),
                "excluded_embed_metadata_keys": _with(scored.node.excluded_embed_metadata_keys, added),
            }
        )
        if kept.extracted:
            node = _with_extract(node, kept)
        elif kept.text != kept.candidate.reading:
            node = _cut(node, kept)
        return scored.model_copy(update={"node": node, "score": relevance_score(kept)})

    @contextmanager
    def _events(self, nodes: list[NodeWithScore], query: QueryBundle) -> Iterator[list[NodeWithScore]]:
        """Emit start and end in both of LlamaIndex's event systems, the end with the nodes that are added to the list.

        When reranking fails, there is an end too.
        """
        name = self.model_name
        top_n = self.most_kept or len(nodes)
        start: dict[str, Any] = {
            EventPayload.NODES: list(nodes),
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        kept: list[NodeWithScore] = []
        _dispatcher.event(ReRankStartEvent(query=query, nodes=list(nodes), top_n=top_n, model_name=name))
        with self.callback_manager.event(CBEventType.RERANKING, payload=start) as older:
            try:
                yield kept
                older.on_end(payload={EventPayload.NODES: kept})  # after an error the manager emits the end
            finally:
                _dispatcher.event(ReRankEndEvent(nodes=kept))


def _required(query: QueryBundle | None) -> QueryBundle:
    if not isinstance(query, QueryBundle):
        raise InputError(f"postprocess_nodes(nodes, query_str=...) needs a query or a QueryBundle, got {query!r:.80}")
    return query


def _bundle(query: str | QueryBundle) -> QueryBundle:
    if not isinstance(query, str | QueryBundle):
        raise InputError(f"the query must be a string, got {type(query).__name__}: {query!r:.80}")
    return query if isinstance(query, QueryBundle) else QueryBundle(query)


def _checked(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    return checked_items(nodes, NodeWithScore, "postprocess_nodes(nodes, query_str=...)")


def _without_entry(node: BaseNode) -> BaseNode:
    """Return the node without the entry of an earlier pass, which ``MetadataMode.ALL`` would show the model."""
    if ENTRY not in node.metadata:
        return node
    return node.model_copy(update={"metadata": {name: node.metadata[name] for name in node.metadata if name != ENTRY}})


def _with(keys: list[str], added: Iterable[str]) -> list[str]:
    return [*keys, *(key for key in added if key not in keys)]


def _cut(node: BaseNode, kept: Kept) -> BaseNode:
    """Shorten the copied node to the kept text, with its character offsets."""
    reading, text = kept.candidate.reading, node.get_content(metadata_mode=MetadataMode.NONE).rstrip()
    lead = 0 if text in reading else len(text) - len(text.lstrip())  # LlamaIndex strips what it writes
    start = reading.rfind(text[lead:])
    _set_content(node, text[:lead] + kept.text[start:] if start >= 0 else kept.text, kept)
    if isinstance(node, TextNode) and node.start_char_idx is not None and start >= 0:
        node.end_char_idx = node.start_char_idx + lead + max(0, min(len(kept.text) - start, len(text) - lead))
    return node


def _with_extract(node: BaseNode, kept: Kept) -> BaseNode:
    """Replace the copied node's text by the extract, with its character offsets where it is one part of the text."""
    text, spans = node.get_content(metadata_mode=MetadataMode.NONE), kept.body_spans
    _set_content(node, kept.text[kept.candidate.header_length :], kept)
    if isinstance(node, TextNode) and node.start_char_idx is not None:
        first = node.start_char_idx + len(text) - len(text.lstrip())  # LlamaIndex strips what it writes
        node.start_char_idx, node.end_char_idx = (first + end for end in spans[0]) if len(spans) == 1 else (None, None)
    return node


def _set_content(node: BaseNode, text: str, kept: Kept) -> None:
    """Set the copied node's text, so that the LLM reads the kept text."""
    node.set_content(text)
    if node.get_content(metadata_mode=MetadataMode.LLM) != kept.text:
        # the cut fell into the metadata, or the node's template writes something behind the text
        node.excluded_llm_metadata_keys = [*node.metadata]
        node.set_content(kept.text)

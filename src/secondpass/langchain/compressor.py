"""The document compressor: LangChain documents in, the ones worth the context out, as copies."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
    Callbacks,
)
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.runnables import RunnableConfig, RunnableSerializable, ensure_config
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config
from pydantic import ConfigDict

from secondpass.candidates import Candidate
from secondpass.doors import ENTRY, DoorSettings, metadata_entry
from secondpass.errors import InputError
from secondpass.ranking import Kept, Ranking
from secondpass.scores import Call


class CrossEncoderCompressor(
    DoorSettings, BaseDocumentCompressor, RunnableSerializable[dict[str, Any], Sequence[Document]]
):
    """Reads every document with the question, and keeps those that are worth the LLM's context.

    Works as ``base_compressor`` of a ``ContextualCompressionRetriever``, in a ``DocumentCompressorPipeline``, and as a
    step of a chain that is invoked with ``{"query": ..., "documents": ...}``. What comes back are copies, with id,
    class and metadata kept, and two entries added: ``relevance_score``, the model's probability, and
    ``secondpass``, a small record with the raw score and both ranks.

    :param score_key: The metadata key that holds a first-stage score, higher is better, for fusion; None for none.

    The other settings are those of ``DoorSettings``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    score_key: str | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the documents that were kept, in reading order.

        :raises InputError: If the query isn't a string.
        :raises ScoringError: If scoring failed and ``on_error`` is ``"raise"``.
        """
        return kept_documents(self.rank(documents, query, callbacks=callbacks))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Do what ``compress_documents`` does, on threads of the compressor's own."""
        return kept_documents(await self.arank(documents, query, callbacks=callbacks))

    def rank(
        self,
        documents: Sequence[Document],
        query: str,
        *,
        scores: Sequence[float | None] | None = None,
        top_n: int | None = None,
        callbacks: Callbacks | None = None,
    ) -> Ranking:
        """Return the whole ranking, each candidate with its document as payload.

        :param documents: What the first stage found, best first.
        :param query: The question.
        :param scores: First-stage scores, higher is better, one for each document; None reads ``score_key``.
        :param top_n: Takes the place of the compressor's own, for this call alone.
        :param callbacks: LangChain callbacks; the pass shows up in them as a run of its own.
        """
        manager = CallbackManager.configure(inheritable_callbacks=_sync_callbacks(callbacks))
        run = manager.on_chain_start(None, _inputs(query, documents), name=type(self).__name__)
        return self._traced(run, documents, query, scores, top_n)

    async def arank(
        self,
        documents: Sequence[Document],
        query: str,
        *,
        scores: Sequence[float | None] | None = None,
        top_n: int | None = None,
        callbacks: Callbacks | None = None,
    ) -> Ranking:
        """Do what ``rank`` does, on threads of the compressor's own; a cancelled task cancels the scoring."""
        manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks)
        run = await manager.on_chain_start(None, _inputs(query, documents), name=type(self).__name__)
        return await self._atraced(run, documents, query, scores, top_n)

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Sequence[Document]:
        """Do what ``compress_documents`` does, as a step of a chain.

        :param input: ``{"query": str, "documents": [Document, ...]}``.
        :param kwargs: ``top_n``, in place of the compressor's own; nothing else.
        :raises InputError: If one of the two is missing, or there is another keyword.
        """
        documents, query = _from_chain(input)
        top_n = _only_top_n(kwargs)
        config = ensure_config(config)
        run = get_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or type(self).__name__, run_id=config.pop("run_id", None)
        )
        return kept_documents(self._traced(run, documents, query, None, top_n))

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Sequence[Document]:
        """Do what ``invoke`` does, on threads of the compressor's own."""
        documents, query = _from_chain(input)
        top_n = _only_top_n(kwargs)
        config = ensure_config(config)
        run = await get_async_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or type(self).__name__, run_id=config.pop("run_id", None)
        )
        return kept_documents(await self._atraced(run, documents, query, None, top_n))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: settings can be written down; ``to_json`` says so where live objects can't."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return LangChain's form of the settings, or its mark that live objects can't be written down."""
        if self.live_objects():
            return self.to_json_not_implemented()
        return {"lc": 1, "type": "constructor", "id": self.lc_id(), "kwargs": self.settings()}

    def _traced(
        self,
        run: CallbackManagerForChainRun,
        documents: Sequence[Document],
        query: str,
        scores: Sequence[float | None] | None,
        top_n: int | None,
    ) -> Ranking:
        try:
            ranking = self._rerank(query, self._candidates(documents, scores), top_n=top_n)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(_outputs(ranking))
        return ranking

    async def _atraced(
        self,
        run: AsyncCallbackManagerForChainRun,
        documents: Sequence[Document],
        query: str,
        scores: Sequence[float | None] | None,
        top_n: int | None,
    ) -> Ranking:
        def work(call: Call) -> Ranking:
            return self._rerank(query, self._candidates(documents, scores), call, top_n)

        try:
            ranking = await self._in_thread(work)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(_outputs(ranking))
        return ranking

    def _candidates(self, documents: Sequence[Document], scores: Sequence[float | None] | None) -> list[Candidate]:
        if scores is None:
            scores = [document.metadata.get(self.score_key) if self.score_key else None for document in documents]
        return [
            Candidate(document.page_content, id=document.id, score=score, payload=document)
            for document, score in zip(documents, scores, strict=True)
        ]


def kept_documents(ranking: Ranking) -> list[Document]:
    """Return copies of the documents that a ranking kept, in reading order, with their scores in the metadata."""
    return [_document(kept, ranking) for kept in ranking.kept]


def _document(kept: Kept, ranking: Ranking) -> Document:
    document = kept.candidate.payload
    if not isinstance(document, Document):
        raise InputError(f"the ranking's payloads must be Documents, got {type(document).__name__}")
    added: dict[str, Any] = {ENTRY: metadata_entry(kept, kept.rank, ranking)}
    if kept.probability is not None:
        added["relevance_score"] = kept.probability
    return document.model_copy(update={"page_content": kept.text, "metadata": document.metadata | added})


def _sync_callbacks(callbacks: Callbacks | None) -> Callbacks | None:
    """Return callbacks that a synchronous run can use: an asynchronous manager's handlers, with its parent run."""
    if not isinstance(callbacks, BaseCallbackManager) or isinstance(callbacks, CallbackManager):
        return callbacks
    return CallbackManager(
        handlers=callbacks.handlers,
        inheritable_handlers=callbacks.inheritable_handlers,
        parent_run_id=callbacks.parent_run_id,
        tags=callbacks.tags,
        inheritable_tags=callbacks.inheritable_tags,
        metadata=callbacks.metadata,
        inheritable_metadata=callbacks.inheritable_metadata,
    )


def _inputs(query: str, documents: Sequence[Document]) -> dict[str, Any]:
    return {"query": query, "documents": list(documents)}


def _outputs(ranking: Ranking) -> dict[str, Any]:
    return {
        "documents": kept_documents(ranking),
        "dropped": len(ranking.dropped),
        "degraded": str(ranking.degraded or ""),
    }


def _from_chain(given: dict[str, Any]) -> tuple[Sequence[Document], str]:
    if not isinstance(given, dict) or not {"query", "documents"} <= given.keys():
        came = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise InputError(f'a chain must hand over {{"query": str, "documents": [Document, ...]}}, got {came}')
    return given["documents"], given["query"]


def _only_top_n(kwargs: dict[str, Any]) -> int | None:
    unknown = sorted(kwargs.keys() - {"top_n"})
    if unknown:
        raise InputError(f"a call takes top_n and no other keyword, got {', '.join(unknown)}: set it on the compressor")
    return kwargs.get("top_n")

"""The LangChain document compressor."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
    Callbacks,
)
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.runnables import RunnableConfig, RunnableSerializable, ensure_config
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config
from pydantic import ConfigDict

from secondpass.errors import InputError
from secondpass.integration import (
    ENTRY,
    IntegrationSettings,
    checked_items,
    metadata_entry,
    relevance_score,
    source_of,
)
from secondpass.langchain.cross_encoder import LangChainScorer
from secondpass.logs import REPEATED_WARNINGS
from secondpass.ranking import Kept, Ranking
from secondpass.records import Candidate
from secondpass.scoring.scorer import Scorer
from secondpass.selection.call_options import NO_OPTIONS, CallOptions, Default
from secondpass.selection.filters import Results

_INPUT_KEYS = ("query", "documents", "budget", "history", "exclude")
_Request = tuple[str, list[Candidate], CallOptions]
_TopN = int | Default | None


class SecondPassRerank(
    IntegrationSettings, BaseDocumentCompressor, RunnableSerializable[dict[str, Any], Sequence[Document]]
):
    """Reranks documents against the query, and keeps those that fit ``top_n`` and the context budget.

    Use it as ``base_compressor`` of a ``ContextualCompressionRetriever``, in a ``DocumentCompressorPipeline``, or as a
    step of a chain that is invoked with ``{"query": ..., "documents": ...}``. It returns copies with id, class and
    metadata, and adds two metadata keys: ``relevance_score``, the probability of relevance, and ``secondpass``, a
    record with the raw score and both ranks. In a degraded pass, which the record marks, documents without a score have
    the first stage's as ``relevance_score``.

    :param model: Also a LangChain ``BaseCrossEncoder``.
    :param score_key: The metadata key of a first-stage score, higher is better, for fusion; None for none.

    All other settings are those of ``IntegrationSettings``.
    """

    model_config = ConfigDict(extra="forbid")  # of several bases the last one's would count

    score_key: str | None = None

    def compress_documents(
        self, documents: Iterable[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the kept documents, in reading order.

        :raises InputError: If the documents or the query have the wrong type.
        :raises ScoringError: If scoring failed and ``on_error`` is ``"raise"``.
        """
        return self._run(documents, query, callbacks)[1]

    async def acompress_documents(
        self, documents: Iterable[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return what ``compress_documents`` returns, without blocking the event loop."""
        return (await self._arun(documents, query, callbacks))[1]

    def rank(
        self,
        documents: Iterable[Document],
        query: str,
        *,
        scores: Sequence[float | None] | None = None,
        top_n: _TopN = "default",
        exclude: Results = (),
        callbacks: Callbacks | None = None,
    ) -> Ranking:
        """Return the ranking, each candidate with its document as payload.

        :param documents: The first stage's documents, best first.
        :param query: The query.
        :param scores: First-stage scores, higher is better, one for each document; None reads ``score_key``.
        :param top_n: Replaces the compressor's ``top_n`` for this call; None sets no limit.
        :param exclude: Earlier results that are not to be kept again: a ranking, documents, or ids. A document that
            was cut (``truncate``, ``extract``) is recognised by its id alone.
        :param callbacks: LangChain callbacks; the call is a run of its own in traces.
        :raises InputError: If an argument has the wrong type, or there are too few scores.
        """
        return self._run(documents, query, callbacks, scores, CallOptions(top_n=top_n, exclude=exclude))[0]

    async def arank(
        self,
        documents: Iterable[Document],
        query: str,
        *,
        scores: Sequence[float | None] | None = None,
        top_n: _TopN = "default",
        exclude: Results = (),
        callbacks: Callbacks | None = None,
    ) -> Ranking:
        """Return what ``rank`` returns, without blocking the event loop; cancelling the task cancels the scoring."""
        return (await self._arun(documents, query, callbacks, scores, CallOptions(top_n=top_n, exclude=exclude)))[0]

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Sequence[Document]:
        """Return what ``compress_documents`` returns, as a step of a chain.

        :param input: ``{"query": str, "documents": [Document, ...]}``, and for this call alone ``"budget"`` (tokens or
            a ``ContextBudget``), ``"history"`` (messages whose tokens the budget is reduced by), and ``"exclude"`` as
            in ``rank``.
        :param config: The chain's configuration.
        :param kwargs: ``top_n``, which replaces the compressor's own; None sets no limit.
        :raises InputError: If a key is missing, or there is another keyword.
        """
        config = ensure_config(config)
        run = get_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or type(self).__name__, run_id=config.pop("run_id", None)
        )
        return self._traced(run, partial(self._from_chain, input, kwargs))[1]

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Sequence[Document]:
        """Return what ``invoke`` returns, without blocking the event loop."""
        config = ensure_config(config)
        run = await get_async_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or type(self).__name__, run_id=config.pop("run_id", None)
        )
        return (await self._atraced(run, partial(self._from_chain, input, kwargs)))[1]

    def documents(self, ranking: Ranking) -> list[Document]:
        """Return copies of the documents that a ranking of this class kept, in reading order."""
        return [self._document(kept, ranking) for kept in ranking.kept]

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True; ``to_json`` refuses live objects."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return LangChain's form of the settings, or its mark that there are live objects."""
        if self.live_objects():
            return self.to_json_not_implemented()
        return {"lc": 1, "type": "constructor", "id": self.lc_id(), "kwargs": self.settings()}

    def _scorer_of(self, model: Any) -> Scorer | None:
        return LangChainScorer(model) if isinstance(model, BaseCrossEncoder) else super()._scorer_of(model)

    def _run(
        self,
        documents: Iterable[Document],
        query: str,
        callbacks: Callbacks | None,
        scores: Sequence[float | None] | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> tuple[Ranking, list[Document]]:
        """Return the ranking and the kept documents, as a run of its own in traces."""
        documents = _read_once(documents)
        manager = CallbackManager.configure(inheritable_callbacks=_sync_callbacks(callbacks))
        run = manager.on_chain_start(None, {"query": query, "documents": documents}, name=type(self).__name__)
        return self._traced(run, lambda: (query, self._candidates(documents, scores), options))

    async def _arun(
        self,
        documents: Iterable[Document],
        query: str,
        callbacks: Callbacks | None,
        scores: Sequence[float | None] | None = None,
        options: CallOptions = NO_OPTIONS,
    ) -> tuple[Ranking, list[Document]]:
        """Return what ``_run`` returns, without blocking the event loop."""
        documents = _read_once(documents)
        manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks)
        run = await manager.on_chain_start(None, {"query": query, "documents": documents}, name=type(self).__name__)
        return await self._atraced(run, lambda: (query, self._candidates(documents, scores), options))

    def _traced(self, run: CallbackManagerForChainRun, read: Callable[[], _Request]) -> tuple[Ranking, list[Document]]:
        """Return the ranking of the request that is read, and its documents; the run has what is wrong with it, too."""
        try:
            ranking = self._rerank(*read())
            documents = self.documents(ranking)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(_outputs(ranking, documents))
        return ranking, documents

    async def _atraced(
        self, run: AsyncCallbackManagerForChainRun, read: Callable[[], _Request]
    ) -> tuple[Ranking, list[Document]]:
        """Return what ``_traced`` returns, without blocking the event loop."""
        try:
            ranking = await self._arerank(*read())
            documents = self.documents(ranking)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(_outputs(ranking, documents))
        return ranking, documents

    def _candidates(
        self, documents: Iterable[Document], scores: Sequence[float | None] | None = None
    ) -> list[Candidate]:
        documents = checked_items(documents, Document, "compress_documents(documents, query)")
        if scores is None:
            scores = [document.metadata.get(self.score_key) if self.score_key else None for document in documents]
            if self.score_key and documents and all(score is None for score in scores):
                message = "no document has the score_key %r: their order alone counts"
                REPEATED_WARNINGS.warn(("score_key", self.score_key), message, self.score_key)
        scores = list(scores) if isinstance(scores, Iterable) else [scores]
        if len(scores) != len(documents):
            raise InputError(f"scores must have one number for each of {len(documents)} documents, got {len(scores)}")
        candidates = [self._candidate(document, score) for document, score in zip(documents, scores, strict=True)]
        return self._with_fields(candidates)

    def _candidate(self, document: Document, score: float | None) -> Candidate:
        return Candidate(
            document.page_content,
            id=document.id,
            score=score,
            source=source_of([document.metadata.get(self.source_key or "source")]),
            metadata=document.metadata,
            payload=document,
        )

    def _convert(self, item: Any) -> Any:
        """Return a document as a candidate; other items stay as they are."""
        if not isinstance(item, Document):
            return item
        entry = item.metadata.get(ENTRY)
        if item.id is None and isinstance(entry, dict) and entry.get("cut"):
            message = "exclude can't recognise a document that was cut and has no id: give the ranking, or set ids"
            REPEATED_WARNINGS.warn(("exclude", "cut"), message)
        return self._earlier(self._candidate(item, None))

    def _from_chain(self, given: Any, kwargs: dict[str, Any]) -> _Request:
        if not isinstance(given, dict) or not {"query", "documents"} <= given.keys():
            keys = sorted(given) if isinstance(given, dict) else type(given).__name__
            raise InputError(f'the input must be {{"query": str, "documents": [Document, ...]}}, got {keys}')
        for key in given.keys() - _INPUT_KEYS:  # a chain may have keys of its own
            if key == "top_n" or _is_misspelt(key):
                raise InputError(
                    f"the input's keys are {', '.join(_INPUT_KEYS)}, got {key!r}; top_n is a keyword of invoke"
                )
        unknown = sorted(kwargs.keys() - {"top_n"})
        if unknown:
            raise InputError(
                f"invoke takes the keyword top_n alone, got {', '.join(unknown)}: set it on the compressor"
            )
        overridden = {name: given[name] for name in ("budget", "history", "exclude") if given.get(name) is not None}
        return given["query"], self._candidates(given["documents"]), CallOptions(**kwargs, **overridden)

    def _document(self, kept: Kept, ranking: Ranking) -> Document:
        document = kept.candidate.payload
        if not isinstance(document, Document):
            raise InputError(f"the ranking's payloads must be Documents, got {type(document).__name__}")
        update: dict[str, Any] = {"page_content": kept.text}
        start = document.metadata.get("start_index")  # of a text splitter; it moves with the first span
        if isinstance(start, int) and kept.spans[0][0]:
            update["metadata"] = document.metadata | {"start_index": start + kept.spans[0][0]}
        if self.add_metadata:
            scores = {"relevance_score": relevance_score(kept), ENTRY: metadata_entry(kept, ranking)}
            update["metadata"] = update.get("metadata", document.metadata) | scores
        return document.model_copy(update=update)


def _outputs(ranking: Ranking, documents: list[Document]) -> dict[str, Any]:
    return {
        "documents": documents,
        "dropped": len(ranking.dropped),
        "degraded": str(ranking.degraded or ""),
        "nothing_relevant": ranking.nothing_relevant,
    }


def _is_misspelt(key: object) -> bool:
    """Return whether a key is nearly ``budget`` or ``history``, which would be ignored."""
    name = str(key)
    return any(abs(len(name) - len(ours)) <= 1 for ours in get_close_matches(name, ("budget", "history"), 1, 0.8))


def _sync_callbacks(callbacks: Callbacks | None) -> Callbacks | None:
    """Return callbacks for a synchronous run: an asynchronous manager's handlers, with its parent run."""
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


def _read_once(documents: Iterable[Document]) -> Iterable[Document]:
    """Return the documents of an iterator as a list, since traces read them too; anything else as it is."""
    return list(documents) if isinstance(documents, Iterator) else documents

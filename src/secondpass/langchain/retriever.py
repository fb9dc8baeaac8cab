"""The LangChain two-stage retriever: candidates of a vector store with their scores, reranked."""

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from pydantic import ConfigDict, Field, model_validator

from secondpass.errors import ConfigurationError
from secondpass.integration import CheckedModel
from secondpass.langchain.rerank import SecondPassRerank
from secondpass.logs import logger
from secondpass.ranking import Ranking

ScoresAre = Literal["auto", "similarity", "distance"]


class TwoStageRetriever(CheckedModel, BaseRetriever):
    """Retrieves candidates with their first-stage scores from a vector store, and reranks them.

    First-stage scores are in ``metadata["secondpass"]["first_stage_score"]``, higher is better; a fusion can use them.

    :param vectorstore: Any LangChain vector store.
    :param compressor: The second pass; by default the bundled model and the best 5.
    :param k: The most documents to return; None leaves it to the compressor.
    :param fetch_k: How many candidates to retrieve. A warning is logged where it isn't above what is kept.
    :param search_kwargs: Further arguments of the store's search, such as ``{"filter": {...}}``.
    :param scores_are: Whether the store's numbers are similarities or distances. ``"auto"`` asks the store: Chroma's
        metric, or its relevance function. Where that tells nothing, the scores count as unknown, and ranks are used.
    :raises ConfigurationError: If a setting is invalid.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    vectorstore: VectorStore
    compressor: SecondPassRerank = Field(default_factory=SecondPassRerank)
    k: int | None = Field(default=None, ge=1)
    fetch_k: int = Field(default=100, ge=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    scores_are: ScoresAre = "auto"

    @model_validator(mode="after")
    def _check(self) -> "TwoStageRetriever":
        if "k" in self.search_kwargs:
            raise ConfigurationError("search_kwargs must not have k: fetch_k is how many candidates to retrieve")
        most = self.k or self.compressor.most_kept
        if most is not None and self.fetch_k <= most:
            logger.warning(
                "fetch_k (%d) should be several times the %d documents that are kept: the second pass can only reorder "
                "what it is given",
                self.fetch_k,
                most,
            )
        return self

    def rank(self, query: str, config: RunnableConfig | None = None, *, k: int | None = None) -> Ranking:
        """Return the ranking itself, with what was dropped and why, also where nothing is kept.

        :param query: The query.
        :param config: As for ``invoke``; the run is traced like one of ``invoke``.
        :param k: Replaces the retriever's ``k`` for this call.
        """
        rankings: list[Ranking] = []
        self.invoke(query, config, k=k, rankings=rankings)
        return rankings[0]

    async def arank(self, query: str, config: RunnableConfig | None = None, *, k: int | None = None) -> Ranking:
        """Return what ``rank`` returns, without blocking the event loop."""
        rankings: list[Ranking] = []
        await self.ainvoke(query, config, k=k, rankings=rankings)
        return rankings[0]

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        rankings: list[Ranking] | None = None,
    ) -> list[Document]:
        k = self.k if k is None else k
        try:
            hits = self.vectorstore.similarity_search_with_score(query, k=self._fetch(k), **self.search_kwargs)
        except NotImplementedError:  # not every store returns scores
            hits = _without_scores(self.vectorstore.similarity_search(query, k=self._fetch(k), **self.search_kwargs))
        documents, scores = self._split(hits)
        ranking = self.compressor.rank(
            documents, query, scores=scores, top_n="default" if k is None else k, callbacks=run_manager.get_child()
        )
        return self._documents(ranking, rankings)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        rankings: list[Ranking] | None = None,
    ) -> list[Document]:
        k = self.k if k is None else k
        try:
            hits = await self.vectorstore.asimilarity_search_with_score(query, k=self._fetch(k), **self.search_kwargs)
        except NotImplementedError:
            hits = _without_scores(
                await self.vectorstore.asimilarity_search(query, k=self._fetch(k), **self.search_kwargs)
            )
        documents, scores = self._split(hits)
        ranking = await self.compressor.arank(
            documents, query, scores=scores, top_n="default" if k is None else k, callbacks=run_manager.get_child()
        )
        return self._documents(ranking, rankings)

    def _documents(self, ranking: Ranking, rankings: list[Ranking] | None) -> list[Document]:
        """Return the kept documents, and append the ranking to the list of a caller that asks for it."""
        if rankings is not None:
            rankings.append(ranking)
        return self.compressor.documents(ranking)

    def _split(self, hits: Sequence[tuple[Document, float | None]]) -> tuple[list[Document], list[float | None]]:
        return [document for document, _ in hits], self._first_stage_scores([number for _, number in hits])

    def _fetch(self, k: int | None) -> int:
        return max(self.fetch_k, k or 0)

    def _first_stage_scores(self, numbers: Sequence[float | None]) -> list[float | None]:
        """Return the store's numbers as scores, higher is better; None for all where their direction is unknown."""
        metric = chroma_metric(self.vectorstore) if self.scores_are == "auto" else None
        if metric:
            return [None if number is None else chroma_similarity(number, metric) for number in numbers]
        direction = score_direction(self.vectorstore) if self.scores_are == "auto" else self.scores_are
        if direction == "distance":
            return [None if number is None else -float(number) for number in numbers]
        return list(numbers) if direction == "similarity" else [None] * len(numbers)


def score_direction(store: VectorStore) -> Literal["similarity", "distance"] | None:
    """Return what the numbers of a store's ``similarity_search_with_score`` are, or None if the store doesn't say.

    LangChain's stores have a function from these numbers to relevance: where it falls, they are distances. FAISS with
    inner products returns similarities although its function falls.
    """
    if isinstance(store, InMemoryVectorStore):
        return "similarity"  # it has no relevance function, and returns the cosine
    if str(getattr(store, "distance_strategy", "")).endswith("MAX_INNER_PRODUCT") and hasattr(
        store, "index_to_docstore_id"
    ):
        return "similarity"
    try:
        relevance = store._select_relevance_score_fn()
        low, high = relevance(0.25), relevance(0.75)
    except (NotImplementedError, ValueError, TypeError, AttributeError):  # the store has none, or an unknown metric
        return None
    return None if low == high else "distance" if low > high else "similarity"


def chroma_metric(store: VectorStore) -> str | None:
    """Return the metric of a LangChain Chroma store's collection, or None for another store."""
    if not any(base.__module__.startswith("langchain_chroma") for base in type(store).__mro__):
        return None
    configuration: dict[str, Any] = getattr(getattr(store, "_collection", None), "configuration_json", None) or {}
    spaces = ((configuration.get(index) or {}).get("space") for index in ("hnsw", "spann"))
    return next((str(space) for space in spaces if space), None)


def chroma_similarity(distance: float, metric: str) -> float:
    """Convert one of Chroma's distances to a similarity, higher is better.

    ``cosine`` distance is ``1 - cos``, and ``ip`` distance ``1 - dot``, so ``1 - distance`` restores both. ``l2``
    is the squared Euclidean distance, which is unbounded: ``1 / (1 + distance)`` is within 0 and 1, in the same order.
    """
    return 1.0 / (1.0 + float(distance)) if metric == "l2" else 1.0 - float(distance)


def _without_scores(documents: Sequence[Document]) -> list[tuple[Document, Any]]:
    return [(document, None) for document in documents]

"""The two-stage retriever: many candidates from a vector store, the few that are worth the context out of it."""

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from secondpass.langchain.compressor import CrossEncoderCompressor, kept_documents

ScoresAre = Literal["auto", "similarity", "distance"]


class TwoStageRetriever(BaseRetriever):
    """Fetches candidates with their first-stage scores, and hands them to a compressor.

    The scores are kept: they stand in each document's ``metadata["secondpass"]["first_stage_score"]``, higher is
    better, and a fusion can use them.

    :param vectorstore: Any LangChain vector store.
    :param compressor: The second pass.
    :param k: How many documents to give back; None leaves it to the compressor's own settings.
    :param fetch_k: How many candidates to fetch.
    :param search_kwargs: What else the store's search takes, such as ``{"filter": {...}}``.
    :param scores_are: What the store's numbers are; ``"auto"`` knows Chroma's metrics, and sees from the order of
        other stores' results, which come best first, whether their numbers fall (similarities) or rise (distances).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    vectorstore: VectorStore
    compressor: CrossEncoderCompressor
    k: int | None = Field(default=None, ge=1)
    fetch_k: int = Field(default=100, ge=1)
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    scores_are: ScoresAre = "auto"

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = self.k if k is None else k
        try:
            found = self.vectorstore.similarity_search_with_score(query, k=self._fetch(k), **self.search_kwargs)
        except NotImplementedError:  # not every store can give scores; ranks do then
            found = _without_scores(self.vectorstore.similarity_search(query, k=self._fetch(k), **self.search_kwargs))
        documents, scores = self._split(found)
        ranking = self.compressor.rank(documents, query, scores=scores, top_n=k, callbacks=run_manager.get_child())
        return kept_documents(ranking)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = self.k if k is None else k
        try:
            found = await self.vectorstore.asimilarity_search_with_score(query, k=self._fetch(k), **self.search_kwargs)
        except NotImplementedError:
            found = _without_scores(
                await self.vectorstore.asimilarity_search(query, k=self._fetch(k), **self.search_kwargs)
            )
        documents, scores = self._split(found)
        ranking = await self.compressor.arank(
            documents, query, scores=scores, top_n=k, callbacks=run_manager.get_child()
        )
        return kept_documents(ranking)

    def _split(self, found: Sequence[tuple[Document, float | None]]) -> tuple[list[Document], list[float | None]]:
        return [document for document, _ in found], self._first_stage_scores([number for _, number in found])

    def _fetch(self, k: int | None) -> int:
        return max(self.fetch_k, k or 0)

    def _first_stage_scores(self, numbers: Sequence[float | None]) -> list[float | None]:
        metric = chroma_metric(self.vectorstore) if self.scores_are == "auto" else None
        if metric:
            return [None if number is None else chroma_similarity(number, metric) for number in numbers]
        known = [number for number in numbers if number is not None]
        rising = bool(known) and known[0] < known[-1]
        if self.scores_are == "distance" or (self.scores_are == "auto" and rising):
            return [None if number is None else -float(number) for number in numbers]
        return list(numbers)


def chroma_metric(store: VectorStore) -> str | None:
    """Return the metric of a LangChain Chroma store's collection, or None for another store."""
    if not any(base.__module__.startswith("langchain_chroma") for base in type(store).__mro__):
        return None
    configuration: dict[str, Any] = getattr(getattr(store, "_collection", None), "configuration_json", None) or {}
    spaces = ((configuration.get(index) or {}).get("space") for index in ("hnsw", "spann"))
    return next((str(space) for space in spaces if space), None)


def chroma_similarity(distance: float, metric: str) -> float:
    """Turn one of Chroma's distances into a similarity, higher is better.

    ``cosine`` distance is ``1 - cos``, and ``ip`` distance ``1 - dot``, so both come back by ``1 - distance``. ``l2``
    is the squared Euclidean distance, which has no upper end: ``1 / (1 + distance)`` is 0..1, in the same order.
    """
    return 1.0 / (1.0 + float(distance)) if metric == "l2" else 1.0 - float(distance)


def _without_scores(documents: Sequence[Document]) -> list[tuple[Document, Any]]:
    return [(document, None) for document in documents]

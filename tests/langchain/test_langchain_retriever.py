"""The two-stage retriever: first-stage scores of several stores, on one scale, and the second pass behind them."""

import math
from pathlib import Path
from typing import Any

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_worlds import BrokenScorer, Recorder, ids, overlap_compressor

from secondpass import OverlapScorer, Reranker, WeightedSum
from secondpass.langchain import SecondPassRerank, TwoStageRetriever

VECTORS = {"question": [1.0, 0.0], "near": [0.8, 0.6], "middle": [0.0, 0.5], "far": [-1.0, 0.0]}
SIMILARITIES = {
    "cosine": {"near": 0.8, "middle": 0.0, "far": -1.0},
    "ip": {"near": 0.8, "middle": 0.0, "far": -1.0},
    "l2": {"near": 1 / 1.4, "middle": 1 / 2.25, "far": 1 / 5.0},  # 1 / (1 + the squared distance)
}


class TableEmbeddings(Embeddings):
    """Looks each text's vector up."""

    def embed_query(self, text: str) -> list[float]:
        return VECTORS[text]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [VECTORS[text] for text in texts]


class ListStore(VectorStore):
    """Finds a fixed list, best first, with the numbers that it was given; without numbers it knows no scores."""

    def __init__(self, numbers: list[float] | None = None) -> None:
        self.numbers = numbers
        self.asked: list[dict[str, Any]] = []

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        self.asked.append({"k": k, **kwargs})
        return stored()[:k]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        if self.numbers is None:
            raise NotImplementedError
        return list(zip(self.similarity_search(query, k, **kwargs), self.numbers, strict=False))

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Embeddings, **kwargs: Any) -> "ListStore":
        raise NotImplementedError


def stored() -> list[Document]:
    """Return the stored documents, nearest to the question first."""
    return [Document(page_content=name, id=name) for name in ("near", "middle", "far")]


def chroma(folder: Path, metric: str, *, by_metadata: bool = False) -> Chroma:
    """Return a Chroma collection on disk that holds the three documents, the farthest first."""
    space: dict[str, Any] = {"collection_configuration": {"hnsw": {"space": metric}}}
    store = Chroma(
        collection_name="birds",
        embedding_function=TableEmbeddings(),
        client=chromadb.PersistentClient(str(folder)),
        **({"collection_metadata": {"hnsw:space": metric}} if by_metadata else space),
    )
    store.add_documents(stored()[::-1])
    return store


def first_stage(found: list[Document]) -> dict[str | None, float]:
    """Return each document's first-stage score."""
    return {document.id: document.metadata["secondpass"]["first_stage_score"] for document in found}


@pytest.mark.parametrize("by_metadata", [False, True], ids=["configuration", "metadata"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_chromas_distances_become_similarities(tmp_path: Path, metric: str, by_metadata: bool) -> None:
    """Under every metric the nearer document has the higher score, and it is the similarity computed by hand."""
    store = chroma(tmp_path, metric, by_metadata=by_metadata)
    retriever = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor())
    scores = first_stage(retriever.invoke("question"))
    assert scores == pytest.approx(SIMILARITIES[metric], abs=1e-6)
    assert scores["near"] > scores["middle"] > scores["far"]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_first_stages_order_is_chromas(tmp_path: Path, metric: str) -> None:
    """The rank before the second pass is the store's own, best first."""
    retriever = TwoStageRetriever(vectorstore=chroma(tmp_path, metric), compressor=overlap_compressor())
    found = retriever.invoke("question")
    before = {document.id: document.metadata["secondpass"]["rank_before"] for document in found}
    assert before == {"near": 1, "middle": 2, "far": 3}


def test_metric_is_read_without_building_the_collections_embedding_function(tmp_path: Path) -> None:
    """A collection that names an embedding function which isn't here still tells its metric."""
    store = chroma(tmp_path, "cosine")
    store._collection._model.configuration_json["embedding_function"] = {"type": "known", "name": "gone", "config": {}}
    retriever = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor())
    assert first_stage(retriever.invoke("question")) == pytest.approx(SIMILARITIES["cosine"], abs=1e-6)


def test_in_memory_stores_similarities_stay() -> None:
    """Numbers that fall from the best on are similarities already."""
    store = InMemoryVectorStore(TableEmbeddings())
    store.add_documents(stored())
    found = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor()).invoke("question")
    assert first_stage(found) == pytest.approx(SIMILARITIES["cosine"], abs=1e-6)


def test_numbers_that_rise_from_the_best_on_are_distances() -> None:
    """A store whose best result has the lowest number gives distances; the score is their negative."""
    retriever = TwoStageRetriever(vectorstore=ListStore([0.1, 0.5, 2.0]), compressor=overlap_compressor())
    assert first_stage(retriever.invoke("question")) == {"near": -0.1, "middle": -0.5, "far": -2.0}


@pytest.mark.parametrize(("scores_are", "expected"), [("similarity", 0.1), ("distance", -0.1), ("auto", 0.1)])
def test_what_the_numbers_are_can_be_said(scores_are: str, expected: float) -> None:
    """A single result tells nothing by its order; ``scores_are`` does."""
    retriever = TwoStageRetriever(
        vectorstore=ListStore([0.1, 0.5, 2.0]), compressor=overlap_compressor(), fetch_k=1, scores_are=scores_are
    )
    assert first_stage(retriever.invoke("question")) == {"near": expected}


async def test_store_without_scores_falls_back_to_ranks() -> None:
    """Where a store knows no scores, its order is what the second pass starts from, on both paths."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor())
    for found in (retriever.invoke("far"), await retriever.ainvoke("far")):
        assert ids(found) == ["far", "near", "middle"]
        assert "first_stage_score" not in found[0].metadata["secondpass"]
        assert found[0].metadata["secondpass"]["rank_before"] == 3


def test_fusion_hears_the_first_stages_score() -> None:
    """A fusion that listens to the first stage alone gives the store's order back, distances and all."""
    compressor = SecondPassRerank(reranker=Reranker(OverlapScorer(), fusion=WeightedSum(alpha=1)))
    retriever = TwoStageRetriever(vectorstore=ListStore([0.1, 0.5, 2.0]), compressor=compressor)
    found = retriever.invoke("far")
    assert ids(found) == ["near", "middle", "far"]
    assert [document.metadata["relevance_score"] for document in found] == [0.0, 0.0, 1.0]


def test_k_in_the_constructor_and_in_the_call() -> None:
    """``k`` limits what comes back, and the call's own is the stronger."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor(), k=2)
    assert ids(retriever.invoke("far")) == ["far", "near"]
    assert ids(retriever.invoke("far", k=1)) == ["far"]
    assert ids(retriever.invoke("far", k=3)) == ["far", "near", "middle"]


async def test_k_counts_on_the_async_path() -> None:
    """``ainvoke`` takes ``k`` as well."""
    retriever = TwoStageRetriever(vectorstore=ListStore([3, 2, 1]), compressor=overlap_compressor(), k=2)
    assert ids(await retriever.ainvoke("far")) == ["far", "near"]
    assert ids(await retriever.ainvoke("far", k=1)) == ["far"]


def test_store_is_asked_for_the_candidates_and_not_for_the_results() -> None:
    """``fetch_k`` goes to the store with the other arguments of its search, and a larger ``k`` widens it."""
    store = ListStore([3, 2, 1])
    retriever = TwoStageRetriever(
        vectorstore=store, compressor=overlap_compressor(), k=1, fetch_k=50, search_kwargs={"filter": {"a": 1}}
    )
    retriever.invoke("far")
    retriever.invoke("far", k=70)
    assert store.asked == [{"k": 50, "filter": {"a": 1}}, {"k": 70, "filter": {"a": 1}}]


def test_empty_store_gives_nothing(tmp_path: Path) -> None:
    """A question to an empty store is no error."""
    store = InMemoryVectorStore(TableEmbeddings())
    assert TwoStageRetriever(vectorstore=store, compressor=overlap_compressor()).invoke("question") == []


def test_failing_scorer_leaves_the_stores_order(tmp_path: Path) -> None:
    """When scoring fails the retriever is what it would be without a second pass, and says so."""
    compressor = SecondPassRerank(reranker=Reranker(BrokenScorer()))
    found = TwoStageRetriever(vectorstore=chroma(tmp_path, "cosine"), compressor=compressor, k=2).invoke("question")
    assert ids(found) == ["near", "middle"]
    assert all(document.metadata["secondpass"]["degraded"] for document in found)
    assert math.isclose(found[0].metadata["secondpass"]["first_stage_score"], 0.8, abs_tol=1e-6)


@pytest.mark.parametrize("setting", [{"k": 0}, {"fetch_k": 0}, {"scores_are": "grades"}, {"top_n": 3}], ids=str)
def test_settings_that_cannot_work_are_refused(setting: dict[str, Any]) -> None:
    """A mistake in the settings raises at construction and is named."""
    with pytest.raises(ValueError, match=next(iter(setting))):
        TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor(), **setting)


async def test_second_pass_is_a_run_under_the_retrievers() -> None:
    """In a trace the compressor's run stands under the retriever's, on both paths."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor())
    recorder = Recorder()
    retriever.invoke("far", {"callbacks": [recorder]})
    await retriever.ainvoke("far", {"callbacks": [recorder]})
    outer, inner = recorder.named("TwoStageRetriever"), recorder.named("SecondPassRerank")
    assert [run.parent for run in inner] == [run.run_id for run in outer]
    assert len(inner) == 2

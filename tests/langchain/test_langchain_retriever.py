"""The two-stage retriever: first-stage scores of several vector stores, higher is better, and their reranking."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chromadb
import pytest
from integration_support import Loader
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_support import BrokenScorer, Recorder, WordEmbeddings, ids, overlap_compressor

from secondpass import OverlapScorer, Ranking, Reranker, WeightedSum
from secondpass.errors import ConfigurationError
from secondpass.langchain import SecondPassRerank, TwoStageRetriever

VECTORS = {"question": [1.0, 0.0], "near": [0.8, 0.6], "middle": [0.0, 0.5], "far": [-1.0, 0.0]}
SIMILARITIES = {
    "cosine": {"near": 0.8, "middle": 0.0, "far": -1.0},
    "ip": {"near": 0.8, "middle": 0.0, "far": -1.0},
    "l2": {"near": 1 / 1.4, "middle": 1 / 2.25, "far": 1 / 5.0},  # 1 / (1 + the squared distance)
}


class TableEmbeddings(Embeddings):
    """Takes each text's vector from a table."""

    def embed_query(self, text: str) -> list[float]:
        return VECTORS[text]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [VECTORS[text] for text in texts]


class ListStore(VectorStore):
    """Returns a fixed list, best first, with its numbers, whose direction it doesn't state."""

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


class FallingStore(ListStore):
    """States that its numbers are distances: its relevance function falls."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda number: 1 - number


class RisingStore(ListStore):
    """States that its numbers are similarities: its relevance function rises."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda number: (1 + number) / 2


class ConstantStore(ListStore):
    """Has a relevance function that is the same for all numbers."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda number: 1.0


class UnknownMetricStore(ListStore):
    """Has no relevance function for its metric, as LangChain's stores report it."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        raise ValueError("unknown distance strategy")


class FaissLikeStore(FallingStore):
    """Has the attributes of LangChain's FAISS, whose relevance function falls for inner products too."""

    def __init__(self, numbers: list[float], distance_strategy: str) -> None:
        super().__init__(numbers)
        self.distance_strategy = distance_strategy
        self.index_to_docstore_id: dict[int, str] = {}


def stored() -> list[Document]:
    """Return the stored documents, nearest to the question first."""
    return [Document(page_content=name, id=name) for name in ("near", "middle", "far")]


def chroma(folder: Path, metric: str | None, *, by_metadata: bool = False) -> Chroma:
    """Return a Chroma collection on disk with the three documents, the farthest first; None is the default metric."""
    space: dict[str, Any] = {"collection_configuration": {"hnsw": {"space": metric}}} if metric else {}
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
    """Under every metric the nearer document has the higher score, the similarity computed by hand."""
    store = chroma(tmp_path, metric, by_metadata=by_metadata)
    retriever = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor())
    scores = first_stage(retriever.invoke("question"))
    assert scores == pytest.approx(SIMILARITIES[metric], abs=1e-6)
    assert scores["near"] > scores["middle"] > scores["far"]


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_first_stage_ranks_are_chromas(tmp_path: Path, metric: str) -> None:
    """The first-stage rank is that of the store's results."""
    retriever = TwoStageRetriever(vectorstore=chroma(tmp_path, metric), compressor=overlap_compressor())
    found = retriever.invoke("question")
    before = {document.id: document.metadata["secondpass"]["rank_before"] for document in found}
    assert before == {"near": 1, "middle": 2, "far": 3}


def test_metric_is_read_without_building_the_collections_embedding_function(tmp_path: Path) -> None:
    """The metric of a collection is known although its embedding function can't be created."""
    store = chroma(tmp_path, "cosine")
    store._collection._model.configuration_json["embedding_function"] = {"type": "known", "name": "gone", "config": {}}
    retriever = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor())
    assert first_stage(retriever.invoke("question")) == pytest.approx(SIMILARITIES["cosine"], abs=1e-6)


def test_similarities_of_the_store_in_memory_stay() -> None:
    """``InMemoryVectorStore`` returns cosine similarities, which are used as they are."""
    store = InMemoryVectorStore(TableEmbeddings())
    store.add_documents(stored())
    found = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor()).invoke("question")
    assert first_stage(found) == pytest.approx(SIMILARITIES["cosine"], abs=1e-6)


@pytest.mark.parametrize("fetch_k", [1, 3], ids=["one hit", "several hits"])
@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (FallingStore([0.1, 0.5, 2.0]), -0.1),
        (RisingStore([0.9, 0.5, 0.2]), 0.9),
        (FaissLikeStore([0.1, 0.5, 2.0], "DistanceStrategy.EUCLIDEAN_DISTANCE"), -0.1),
        (FaissLikeStore([0.9, 0.5, 0.2], "DistanceStrategy.MAX_INNER_PRODUCT"), 0.9),
    ],
    ids=["distances", "similarities", "FAISS distances", "FAISS inner products"],
)
async def test_relevance_function_gives_the_direction_of_the_scores(
    store: ListStore, expected: float, fetch_k: int
) -> None:
    """The store's relevance function decides, for one hit as for several, on both paths; distances become negative."""
    retriever = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor(), fetch_k=fetch_k)
    for results in (retriever.invoke("question"), await retriever.ainvoke("question")):
        assert len(results) == fetch_k
        assert first_stage(results)["near"] == expected


@pytest.mark.parametrize("fetch_k", [1, 3], ids=["one hit", "several hits"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2", None])
def test_chromas_score_of_a_document_is_the_same_for_one_hit_and_several(
    tmp_path: Path, metric: str | None, fetch_k: int
) -> None:
    """Chroma's metric decides, its default one (l2) too, and not the order of the hits."""
    retriever = TwoStageRetriever(
        vectorstore=chroma(tmp_path, metric), compressor=overlap_compressor(), fetch_k=fetch_k
    )
    expected = SIMILARITIES[metric or "l2"]["near"]
    assert first_stage(retriever.invoke("question"))["near"] == pytest.approx(expected, abs=1e-6)


def test_similarity_of_the_store_in_memory_is_the_same_for_one_hit() -> None:
    """A single hit of ``InMemoryVectorStore`` has its cosine as score too."""
    store = InMemoryVectorStore(TableEmbeddings())
    store.add_documents(stored())
    retriever = TwoStageRetriever(vectorstore=store, compressor=overlap_compressor(), fetch_k=1)
    assert first_stage(retriever.invoke("question")) == {"near": pytest.approx(0.8, abs=1e-6)}


@pytest.mark.parametrize("numbers", [[0.1, 0.5, 2.0], [0.9, 0.5, 0.2]], ids=["rising", "falling"])
@pytest.mark.parametrize("kind", [ListStore, UnknownMetricStore, ConstantStore])
def test_scores_of_unknown_direction_are_not_used(kind: type[ListStore], numbers: list[float]) -> None:
    """Where the store doesn't state the direction of its scores there are none, and its order gives the ranks."""
    results = TwoStageRetriever(vectorstore=kind(numbers), compressor=overlap_compressor()).invoke("question")
    records = [document.metadata["secondpass"] for document in results]
    assert not any("first_stage_score" in record for record in records)
    assert [record["rank_before"] for record in records] == [1, 2, 3]


@pytest.mark.parametrize(("scores_are", "expected"), [("similarity", 0.1), ("distance", -0.1)])
@pytest.mark.parametrize("kind", [ListStore, FallingStore, RisingStore])
def test_scores_are_replaces_what_the_store_states(kind: type[ListStore], scores_are: str, expected: float) -> None:
    """``scores_are`` decides, whatever relevance function the store has."""
    retriever = TwoStageRetriever(vectorstore=kind([0.1]), compressor=overlap_compressor(), scores_are=scores_are)
    assert first_stage(retriever.invoke("question")) == {"near": expected}


def test_scores_are_replaces_chromas_metric(tmp_path: Path) -> None:
    """With ``scores_are`` Chroma's distances are negated or left, and not converted."""
    retriever = TwoStageRetriever(
        vectorstore=chroma(tmp_path, "cosine"), compressor=overlap_compressor(), fetch_k=1, scores_are="distance"
    )
    assert first_stage(retriever.invoke("question")) == {"near": pytest.approx(-0.2, abs=1e-6)}


def test_default_compressor_is_the_bundled_model_and_the_best_five(loader: Loader) -> None:
    """Without a compressor the retriever reranks with ``small`` and returns 5 documents."""
    store = InMemoryVectorStore(WordEmbeddings())
    store.add_documents([Document(f"swallows {number}") for number in range(8)])
    assert len(TwoStageRetriever(vectorstore=store).invoke("swallows")) == 5
    assert loader.names == ["small"]


async def test_store_without_scores_gives_ranks() -> None:
    """Where a store returns no scores, its order gives the first-stage ranks, on both paths."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor())
    for found in (retriever.invoke("far"), await retriever.ainvoke("far")):
        assert ids(found) == ["far", "near", "middle"]
        assert "first_stage_score" not in found[0].metadata["secondpass"]
        assert found[0].metadata["secondpass"]["rank_before"] == 3


def test_fusion_uses_the_first_stage_scores() -> None:
    """A fusion of the first stage alone gives the store's order, with distances too."""
    compressor = SecondPassRerank(reranker=Reranker(OverlapScorer(), fusion=WeightedSum(alpha=1)))
    retriever = TwoStageRetriever(vectorstore=FallingStore([0.1, 0.5, 2.0]), compressor=compressor)
    found = retriever.invoke("far")
    assert ids(found) == ["near", "middle", "far"]
    assert [document.metadata["relevance_score"] for document in found] == [0.0, 0.0, 1.0]


def test_k_in_the_constructor_and_in_the_call() -> None:
    """``k`` limits the results, and that of a call replaces the constructor's."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor(), k=2)
    assert ids(retriever.invoke("far")) == ["far", "near"]
    assert ids(retriever.invoke("far", k=1)) == ["far"]
    assert ids(retriever.invoke("far", k=3)) == ["far", "near", "middle"]


async def test_k_applies_on_the_async_path() -> None:
    """``ainvoke`` accepts ``k`` as well."""
    retriever = TwoStageRetriever(vectorstore=ListStore([3, 2, 1]), compressor=overlap_compressor(), k=2)
    assert ids(await retriever.ainvoke("far")) == ["far", "near"]
    assert ids(await retriever.ainvoke("far", k=1)) == ["far"]


def test_store_is_searched_for_fetch_k_candidates() -> None:
    """``fetch_k`` and ``search_kwargs`` go to the store's search, and a larger ``k`` raises ``fetch_k``."""
    store = ListStore([3, 2, 1])
    retriever = TwoStageRetriever(
        vectorstore=store, compressor=overlap_compressor(), k=1, fetch_k=50, search_kwargs={"filter": {"a": 1}}
    )
    retriever.invoke("far")
    retriever.invoke("far", k=70)
    assert store.asked == [{"k": 50, "filter": {"a": 1}}, {"k": 70, "filter": {"a": 1}}]


def test_empty_store_gives_no_documents(tmp_path: Path) -> None:
    """An empty store is no error."""
    store = InMemoryVectorStore(TableEmbeddings())
    assert TwoStageRetriever(vectorstore=store, compressor=overlap_compressor()).invoke("question") == []


def test_failing_scorer_gives_the_stores_order(tmp_path: Path) -> None:
    """When scoring fails, the store's order is returned with its scores, and marked as degraded."""
    compressor = SecondPassRerank(reranker=Reranker(BrokenScorer()))
    found = TwoStageRetriever(vectorstore=chroma(tmp_path, "cosine"), compressor=compressor, k=2).invoke("question")
    assert ids(found) == ["near", "middle"]
    assert all(document.metadata["secondpass"]["degraded"] for document in found)
    assert math.isclose(found[0].metadata["secondpass"]["first_stage_score"], 0.8, abs_tol=1e-6)


@pytest.mark.parametrize(
    "setting", [{"k": 0}, {"fetch_k": 0}, {"scores_are": "grades"}, {"top_n": 3}, {"search_kwargs": {"k": 4}}], ids=str
)
def test_invalid_settings_are_refused(setting: dict[str, Any]) -> None:
    """An invalid setting raises a ``ConfigurationError`` that names it."""
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor(), **setting)


async def test_retrievers_run_is_the_parent_of_the_compressors() -> None:
    """In a trace the parent of the compressor's run is the retriever's, on both paths."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor())
    recorder = Recorder()
    retriever.invoke("far", {"callbacks": [recorder]})
    await retriever.ainvoke("far", {"callbacks": [recorder]})
    outer, inner = recorder.named("TwoStageRetriever"), recorder.named("SecondPassRerank")
    assert [run.parent for run in inner] == [run.run_id for run in outer]
    assert len(inner) == 2


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"fetch_k": 5}, True),
        ({"fetch_k": 6}, False),
        ({"fetch_k": 9, "k": 10}, True),
        ({"fetch_k": 3, "compressor": SecondPassRerank(model=OverlapScorer(), top_n=3)}, True),
        ({"fetch_k": 3, "compressor": SecondPassRerank(model=OverlapScorer(), budget=100)}, False),
        ({"fetch_k": 3, "compressor": SecondPassRerank(model=OverlapScorer(), top_n=None)}, False),
    ],
    ids=["the default of 5", "one more", "below k", "the compressor's", "a budget decides", "no limit"],
)
def test_too_few_candidates_are_warned_of(
    settings: dict[str, Any], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no more candidates are fetched than are kept, a warning says that the second pass can only reorder."""
    TwoStageRetriever(**({"vectorstore": ListStore(), **settings}))
    assert ("the second pass can only reorder" in caplog.text) is warns


async def test_the_ranking_itself() -> None:
    """``rank`` and ``arank`` tell what was dropped and why, also where nothing is kept, traced as ``invoke``."""
    compressor = overlap_compressor(min_probability=0.5)
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=compressor)
    recorder = Recorder()
    rankings = [retriever.rank("rain", {"callbacks": [recorder]}), await retriever.arank("rain")]
    assert all(not ranking.kept and ranking.nothing_relevant for ranking in rankings)
    assert [str(item.reason) for item in rankings[0].dropped] == ["below threshold"] * 3
    assert [run.parent for run in recorder.named("SecondPassRerank")] == [
        run.run_id for run in recorder.named("TwoStageRetriever")
    ]


async def test_a_rankings_number_can_be_given_for_one_call() -> None:
    """``k`` replaces the retriever's own, as it does for ``invoke``."""
    retriever = TwoStageRetriever(vectorstore=ListStore(), compressor=overlap_compressor(), k=1)
    assert len(retriever.rank("far")) == 1
    assert len(retriever.rank("far", k=2)) == len(await retriever.arank("far", k=2)) == 2
    assert compressed(retriever.rank("far", k=2)) == ids(retriever.invoke("far", k=2))


def compressed(ranking: Ranking) -> list[str | None]:
    return [item.candidate.id for item in ranking]

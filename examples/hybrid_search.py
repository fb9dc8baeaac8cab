"""Hybrid retrieval: BM25 and dense vectors, fused, then reranked; without a framework, in LangChain, in LlamaIndex."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_chroma import Chroma
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever as LlamaRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from examples.common import (
    ChromaIndex,
    LangChainEmbeddings,
    LlamaIndexEmbedding,
    chroma_client,
    passages,
    questions,
)
from secondpass import Candidate, ReciprocalRank, Reranker, Selection, WeightedSum
from secondpass.evaluation import Bm25Index
from secondpass.fusion import merge_lists
from secondpass.langchain import SecondPassRerank
from secondpass.llama_index import SecondPassRerank as LlamaRerank

QUESTION = "is 2 ** 3 ** 2 computed from the left or from the right?"
WEIGHTS = WeightedSum(alpha=0.3, weights={"bm25": 1.0, "dense": 1.0})  # the model's 0.7, and 0.15 for each list


class PlainHybrid:
    """Both retrievers' lists, merged by reciprocal ranks; the best of them reranked.

    :param texts: The texts by id.
    :param reranker: With a fusion over the signals ``bm25`` and ``dense``, or without one.
    """

    def __init__(self, texts: Mapping[str, str], reranker: Reranker) -> None:
        self.bm25, self.dense, self.reranker = Bm25Index(texts), ChromaIndex(texts), reranker

    def retrieve(self, query: str, depth: int) -> list[Candidate]:
        """Return the merged lists, best first."""
        lists = {"bm25": self.bm25.search(query, depth), "dense": self.dense.search(query, depth)}
        return merge_lists(lists, ReciprocalRank(weights={"bm25": 1.0, "dense": 1.0}))[:depth]

    def search(self, query: str, depth: int = 50) -> list[str | None]:
        """Return the ids of the best."""
        return [kept.candidate.id for kept in self.reranker.rerank(query, self.retrieve(query, depth))]


class Bm25Retriever(BaseRetriever):
    """BM25 as a LangChain retriever: the one in langchain-community is no longer maintained."""

    index: Any
    k: int

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document(item.text, id=item.id, metadata={"id": item.id}) for item in self.index.search(query, self.k)]


def langchain_hybrid(texts: Mapping[str, str], model: str, depth: int = 50) -> ContextualCompressionRetriever:
    """Return an ``EnsembleRetriever`` of BM25 and Chroma, reranked."""
    store = Chroma(
        f"hybrid-{id(texts)}",
        LangChainEmbeddings(),
        client=chroma_client(),
        collection_configuration={"hnsw": {"space": "cosine"}},
    )
    store.add_texts(list(texts.values()), [{"id": key} for key in texts], list(texts))
    ensemble = EnsembleRetriever(
        retrievers=[Bm25Retriever(index=Bm25Index(texts), k=depth), store.as_retriever(search_kwargs={"k": depth})],
        weights=[0.5, 0.5],
        id_key="id",  # without it, documents are merged by their texts, and copies of a text are lost
    )
    compressor = SecondPassRerank(model=model, top_n=5)
    return ContextualCompressionRetriever(base_compressor=compressor, base_retriever=ensemble)


class Bm25NodeRetriever(LlamaRetriever):
    """BM25 as a LlamaIndex retriever."""

    def __init__(self, index: Bm25Index, top_n: int) -> None:
        self._index, self._top_n = index, top_n
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        results = self._index.search(query_bundle.query_str, self._top_n)
        return [NodeWithScore(node=TextNode(text=item.text, id_=str(item.id)), score=item.score) for item in results]


def llama_index_hybrid(texts: Mapping[str, str], depth: int = 50) -> QueryFusionRetriever:
    """Return a ``QueryFusionRetriever`` of BM25 and a vector index, by reciprocal ranks."""
    nodes = [TextNode(text=text, id_=key) for key, text in texts.items()]
    index = VectorStoreIndex(nodes, embed_model=LlamaIndexEmbedding(), insert_batch_size=len(nodes))
    return QueryFusionRetriever(
        [Bm25NodeRetriever(Bm25Index(texts), depth), index.as_retriever(similarity_top_k=depth)],
        llm=MockLLM(),
        num_queries=1,  # the question alone: no LLM writes variants of it
        similarity_top_k=depth,
        mode="reciprocal_rerank",  # type: ignore[arg-type]  # reciprocal rank fusion, in spite of its name
        use_async=False,
    )


def main(model: str = "nano", topics: Sequence[str] = (), depth: int = 50) -> None:
    """Print what each hybrid returns, then how often an answer is among the first 5."""
    texts = passages(topics)
    plain = PlainHybrid(texts, Reranker(model, selection=Selection(top_n=5)))
    weighted = PlainHybrid(texts, Reranker(plain.reranker.scorer, selection=Selection(top_n=5), fusion=WEIGHTS))
    langchain, llama = langchain_hybrid(texts, model, depth), llama_index_hybrid(texts, depth)
    rerank = LlamaRerank(model=model, top_n=5)
    systems = {
        "BM25": lambda asked: [item.id for item in plain.bm25.search(asked, 5)],
        "dense": lambda asked: [item.id for item in plain.dense.search(asked, 5)],
        "RRF of both": lambda asked: [item.id for item in plain.retrieve(asked, depth)[:5]],
        "RRF, reranked": lambda asked: plain.search(asked, depth),
        "weighted sum of all three": lambda asked: weighted.search(asked, depth),
        "EnsembleRetriever, reranked": lambda asked: [item.id for item in langchain.invoke(asked)],
        "QueryFusionRetriever, reranked": lambda asked: [
            item.node_id for item in rerank.postprocess_nodes(llama.retrieve(asked), query_str=asked)
        ],
    }
    judged = questions(texts)
    print(f"Q: {QUESTION}")
    for name, system in systems.items():
        print(f"  {name:31}{', '.join(map(str, system(QUESTION)[:3]))}")
    print(f"\nquestions of {len(judged)} with an answer first, and among the first 5")
    for name, system in systems.items():
        returned = [(system(question.text), set(question.relevant)) for question in judged]
        first = sum(bool(relevant.intersection(ids[:1])) for ids, relevant in returned)
        print(f"  {name:31}{first:3}{sum(bool(relevant.intersection(ids)) for ids, relevant in returned):4}")


if __name__ == "__main__":
    main()

"""Nothing found: a LangChain chain and a LlamaIndex query engine that answer only where an answer is probable."""

from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import BaseQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from secondpass import langchain, llama_index

LEAST = 0.3
NOTHING = "Nothing found that answers this."
QUESTIONS = ("how long does a flea live?", "who won the 1998 world cup?")
TEXTS = (
    "The adult flea lives for two to three months if it finds a host; without one it starves within two weeks.",
    "Fleas are wingless insects that feed on the blood of mammals and birds.",
    "The market hall opens at nine o'clock and closes at six in the evening.",
    "Flea eggs hatch within two days to two weeks, and the larvae spin cocoons and wait there for a host.",
)


def chain(reranker: langchain.SecondPassRerank, least: float = LEAST) -> Runnable[str, str]:
    """Return a chain from a question to an answer, here the best text; a real one has a prompt and a model there."""

    def rank(question: str) -> dict[str, Any]:
        ranking = reranker.rank([Document(text) for text in TEXTS], question)
        return {"question": question, "answerable": ranking.answerable, "context": ranking.context}

    answer = RunnableLambda(lambda found: found["context"].partition("\n")[0])
    nothing = RunnableLambda(lambda _: NOTHING)
    return RunnableLambda(rank) | RunnableBranch((lambda found: found["answerable"] < least, nothing), answer)


class OnlyAnswerable(BaseNodePostprocessor):
    """Removes all nodes where none probably answers: the query engine then gives its empty response, without an LLM."""

    least: float = LEAST

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return [node for node in nodes if node.metadata["secondpass"].get("answerable", 1.0) >= self.least]


def query_engine(
    reranker: llama_index.SecondPassRerank, embed_model: BaseEmbedding, llm: LLM, least: float = LEAST
) -> BaseQueryEngine:
    """Return a query engine that refuses what nothing answers."""
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=embed_model)
    both = [reranker, OnlyAnswerable(least=least)]
    return index.as_query_engine(llm=llm, similarity_top_k=len(TEXTS), node_postprocessors=both)


def main(model: str = "small") -> None:
    """Ask both a question that a text answers, and one that none does."""
    from examples.common import LlamaIndexEmbedding

    answers = chain(langchain.SecondPassRerank(model=model, top_n=2))
    reranker = llama_index.SecondPassRerank(model=model, top_n=2)
    engine = query_engine(reranker, LlamaIndexEmbedding(), MockLLM(max_tokens=20))
    for question in QUESTIONS:
        ranking = langchain.SecondPassRerank(model=model, top_n=2).rank([Document(text) for text in TEXTS], question)
        print(f"{question} answerable {ranking.answerable:.3f}")
        print(f"  LangChain: {answers.invoke(question)}")
        print(f"  LlamaIndex: {'nothing found' if not engine.query(question).source_nodes else 'answered'}")


if __name__ == "__main__":
    main()

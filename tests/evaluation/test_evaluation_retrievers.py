"""Collections from one's own vector store: a callable, a LangChain object, or a LlamaIndex retriever."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from evaluation_worlds import CORPUS, candidates, orders

from secondpass import Candidate
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation import Question, ask, retrieve_with

QUESTIONS = [
    Question("red fox", relevant=["fox"], answers=["quick"]),
    Question("blue whale", relevant={"whale": 2, "bee": 0}, id="whales"),
]


def everything(query: str, k: int) -> Sequence[Candidate]:
    return candidates(list(CORPUS))


def test_every_question_is_asked_once_and_cut_to_the_depth() -> None:
    """Questions get their place as id, relevant ids a grade of 1, and more candidates than wanted are cut off."""
    asked: list[tuple[str, int]] = []

    def retrieve(query: str, k: int) -> Sequence[Candidate]:
        asked.append((query, k))
        return everything(query, k)

    collection = ask(QUESTIONS, retrieve, depth=2, name="mine")
    assert asked == [("red fox", 2), ("blue whale", 2)]
    assert orders(collection) == {"1": ["fox", "dog"], "whales": ["fox", "dog"]}
    assert collection.qrels == {"1": {"fox": 1}, "whales": {"whale": 2, "bee": 0}}
    assert collection.answers == {"1": ("quick",)}


def test_ranks_that_came_decide_the_order() -> None:
    """Where every candidate has a rank, the ranks count and not the list, and numbers count as names."""
    found = [Candidate("b", id=2, rank=7), Candidate("a", id=1, rank=3)]  # type: ignore[arg-type]
    collection = ask([Question("q", relevant=["1"])], lambda query, k: found)
    assert orders(collection) == {"1": ["1", "2"]}


@pytest.mark.parametrize(
    ("questions", "retrieve", "said"),
    [
        (QUESTIONS, lambda query, k: [Candidate("text")], "every candidate must have an id, and 2 have none"),
        (QUESTIONS, lambda query, k: candidates(["fox", "fox"]), "must name each text once"),
        (QUESTIONS, lambda query, k: "fox", "candidates must be a list"),
        ([Question("a", id="2"), Question("b")], everything, "one comes twice"),
        ([Question("a", relevant="fox")], everything, "relevant must be a list of ids"),
        ([Question("a", answers="two years")], everything, "answers must be a list of strings, got one string"),
        ([Question("a")], everything, "at least one query"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    questions: list[Question], retrieve: Callable[[str, int], Any], said: str
) -> None:
    """Candidates without ids, ids that come twice, and questions without anything to find are refused."""
    with pytest.raises(InputError, match=said):
        ask(questions, retrieve)


def test_langchain_store_and_retriever_are_known() -> None:
    """A LangChain vector store is asked for k; its retriever gives what its own settings say."""
    pytest.importorskip("langchain_core", reason="the extra langchain isn't installed")
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_texts(list(CORPUS.values()), [{"animal": key} for key in CORPUS], ids=[f"id-{key}" for key in CORPUS])
    assert len(retrieve_with(store)("red fox", 3)) == 3
    assert {found.id for found in retrieve_with(store)("red fox", 9)} == {f"id-{key}" for key in CORPUS}
    named = retrieve_with(store.as_retriever(search_kwargs={"k": 4}), name="animal")("red fox", 9)
    assert len(named) == 4
    assert all(CORPUS[str(found.id)] == found.text for found in named)


def test_llama_index_retriever_is_known() -> None:
    """A LlamaIndex retriever's nodes come with their scores, and a function can name them."""
    pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    class Fixed(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [NodeWithScore(node=TextNode(text="a fox", id_="n1", metadata={"page": 3}), score=0.5)]

    (found,) = retrieve_with(Fixed())("red fox", 5)
    assert (found.id, found.score, found.text) == ("n1", 0.5, "page: 3\n\na fox")
    (named,) = retrieve_with(Fixed(), name=lambda node: f"page-{node.metadata['page']}")("red fox", 5)
    assert named.id == "page-3"


def test_other_objects_are_refused_with_the_way_out() -> None:
    """What has none of the methods is a configuration error that says what to write."""
    with pytest.raises(ConfigurationError, match="write a function of"):
        retrieve_with(object())

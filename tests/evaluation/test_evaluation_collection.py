"""The collection and its first stages: a callable, a LangChain or LlamaIndex object, or BM25."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from evaluation_collections import CORPUS, QRELS, QUERIES, RUN, animals, candidates, orders

from secondpass import Candidate
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation import Bm25Index, Collection, Question, collect_candidates, retrieve_with

QUESTIONS = [
    Question("red fox", relevant=["fox"], answers=["quick"]),
    Question("blue whale", relevant={"whale": 2, "bee": 0}, id="whales"),
]


def everything(query: str, k: int) -> Sequence[Candidate]:
    return candidates(list(CORPUS))


def test_only_queries_that_can_be_evaluated_stay() -> None:
    """A query without a judgement and without an answer is left out; one with an answer alone stays."""
    collection = animals(queries={**QUERIES, "q8": "asked", "q9": "unjudged"}, answers={"q8": ["yes"]})
    assert list(collection.queries) == ["q1", "q2", "q3", "q8"]
    assert collection.answers == {"q8": ("yes",)}
    assert collection.run["q8"] == ()


def test_judged_queries_without_a_text_are_noted() -> None:
    """Judgements of queries that aren't there are no error, but the notes count them."""
    collection = animals(qrels={**QRELS, "q7": {"fox": 1}})
    assert collection.notes == ("1 of 4 judged queries have no text and are left out",)


def test_ids_that_never_match_are_noted_once() -> None:
    """Where no relevant text was found for any query, the notes say what may be wrong, also of a part of the run."""
    collection = animals(qrels={"q1": {"another-store's-id": 1}, "q2": {"bee": 0}})
    note = ("the first stage found no relevant text for any query: check that both use the same ids",)
    assert collection.notes == note
    assert collection.cut(10).notes == (*note, "at most 10 candidates a query")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answers": {"q1": "yes"}}, "answers must be a list of strings, and query 'q1'"),
        ({"qrels": {"other": {"fox": 1}}}, "at least one query of animals must have a judgement"),
        ({"qrels": {"q1": {}}}, "at least one query of animals must have a judgement"),
        ({"queries": {}, "run": {}}, "at least one query"),
        ({"run": {**RUN, "q8": ["fox"]}}, "the run of animals must name a query that is there: 1 ids are unknown"),
        ({"run": {"q1": ["fox", "dog", "fox"]}}, "must name each text once, and 'fox' comes twice"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    """What can't be evaluated raises, saying what came and what was there."""
    with pytest.raises(InputError, match=said):
        animals(**changes)


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (Candidate("text", id="zebra"), "must name texts of the corpus: 1 ids are unknown, such as 'zebra'"),
        (Candidate("text"), "every candidate must have an id, and 1 have none"),
    ],
)
def test_candidates_must_be_texts_of_the_corpus(candidate: Candidate, said: str) -> None:
    """A candidate with an unknown id, or with none, is refused."""
    with pytest.raises(InputError, match=said):
        replace(animals(), run={"q1": (candidate,)})


def test_candidates_must_be_best_first() -> None:
    """Ranks that contradict the order are refused, since the order is what is measured."""
    first, second = candidates(["fox", "dog"])
    with pytest.raises(InputError, match="must be best first"):
        Collection("w", QUERIES, animals().corpus, QRELS, {"q1": (replace(first, rank=2), replace(second, rank=1))})


def test_first_and_cut_keep_the_head_and_say_so() -> None:
    """``first`` keeps queries and ``cut`` keeps candidates; both leave a note."""
    small = animals(answers={"q1": ["x"]}).first(2).cut(2)
    assert orders(small) == {"q1": ["dog", "moon"], "q2": ["whale", "dog"]}
    assert small.qrels.keys() == {"q1", "q2"}
    assert small.answers == {"q1": ("x",)}
    assert small.notes == ("the first 2 of 3 queries", "at most 2 candidates a query")
    assert animals().first(10).notes == ()


def test_nothing_is_not_a_size() -> None:
    """Neither no query nor no candidate can be asked for."""
    with pytest.raises(ConfigurationError, match="at least 1 query"):
        animals().first(0)
    with pytest.raises(ConfigurationError, match="at least 1 candidate"):
        animals().cut(0)


def test_every_question_is_asked_once_and_cut_to_the_depth() -> None:
    """Questions get their place as id, relevant ids a grade of 1, and more candidates than wanted are cut off."""
    asked: list[tuple[str, int]] = []

    def retrieve(query: str, k: int) -> Sequence[Candidate]:
        asked.append((query, k))
        return everything(query, k)

    collection = collect_candidates(QUESTIONS, retrieve, depth=2, name="mine")
    assert asked == [("red fox", 2), ("blue whale", 2)]
    assert orders(collection) == {"1": ["fox", "dog"], "whales": ["fox", "dog"]}
    assert collection.qrels == {"1": {"fox": 1}, "whales": {"whale": 2, "bee": 0}}
    assert collection.answers == {"1": ("quick",)}


def test_ranks_that_came_decide_the_order() -> None:
    """Where every candidate has a rank, the ranks count and not the order of the list."""
    ranked = [Candidate("b", id="2", rank=7), Candidate("a", id="1", rank=3)]
    collection = collect_candidates([Question("q", relevant=["1"])], lambda query, k: ranked)
    assert orders(collection) == {"1": ["1", "2"]}


@pytest.mark.parametrize(
    ("questions", "retrieve", "said"),
    [
        (QUESTIONS, lambda query, k: [Candidate("text")], "every candidate must have an id, and 1 have none"),
        (QUESTIONS, lambda query, k: candidates(["fox", "fox"]), "must name each text once"),
        (QUESTIONS, lambda query, k: "fox", "candidates must be a list"),
        ([Question("a", id="2"), Question("b")], everything, "one comes twice"),
        ([Question("a", relevant="fox")], everything, "relevant must be a list of ids"),
        ([Question("a", answers="two years")], everything, "answers must be a list of strings, and query"),
        ([Question("a")], everything, "at least one query"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    questions: list[Question], retrieve: Callable[[str, int], Any], said: str
) -> None:
    """Candidates without ids, ids that come twice, and questions without anything to find are refused."""
    with pytest.raises(InputError, match=said):
        collect_candidates(questions, retrieve)


def test_langchain_store_and_retriever_are_known() -> None:
    """A LangChain vector store is asked for k; its retriever gives what its own settings say."""
    pytest.importorskip("langchain_core", reason="the extra langchain isn't installed")
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_texts(list(CORPUS.values()), [{"animal": key} for key in CORPUS], ids=[f"id-{key}" for key in CORPUS])
    assert len(retrieve_with(store)("red fox", 3)) == 3
    assert {candidate.id for candidate in retrieve_with(store)("red fox", 9)} == {f"id-{key}" for key in CORPUS}
    named = retrieve_with(store.as_retriever(search_kwargs={"k": 4}), name="animal")("red fox", 9)
    assert len(named) == 4
    assert all(CORPUS[str(candidate.id)] == candidate.text for candidate in named)


def test_llama_index_retriever_is_known() -> None:
    """A LlamaIndex retriever's nodes come with their scores, and a function can name them."""
    pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    class Fixed(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [NodeWithScore(node=TextNode(text="a fox", id_="n1", metadata={"page": 3}), score=0.5)]

    (candidate,) = retrieve_with(Fixed())("red fox", 5)
    assert (candidate.id, candidate.score, candidate.text) == ("n1", 0.5, "page: 3\n\na fox")
    (named,) = retrieve_with(Fixed(), name=lambda node: f"page-{node.metadata['page']}")("red fox", 5)
    assert named.id == "page-3"


def test_other_objects_are_refused_with_the_way_out() -> None:
    """What has none of the methods is a configuration error that says what to write."""
    with pytest.raises(ConfigurationError, match="write a function of"):
        retrieve_with(object())


def test_bm25_leaves_out_what_shares_no_word() -> None:
    """A query of stop words or unknown words finds nothing, and a depth beyond the corpus is no error."""
    run = Bm25Index(CORPUS).run({"a": "the", "b": "zzz", "c": "foxes"}, 50)
    assert [[candidate.id for candidate in run[query]] for query in "abc"] == [[], [], ["fox"]]


def test_bm25_depth_is_checked() -> None:
    """No candidate at all can't be asked for."""
    with pytest.raises(ConfigurationError, match="depth must be 1 or more, got 0"):
        Bm25Index(CORPUS).run(QUERIES, 0)


@pytest.mark.parametrize("corpus", [{}, {"a": "the", "b": "of"}])
def test_bm25_needs_words(corpus: dict[str, str]) -> None:
    """Without a text, or with stop words alone, there is nothing to find."""
    with pytest.raises(InputError, match=f"and {len(corpus)} texts have none"):
        Bm25Index(corpus)


def test_bm25_index_answers_one_query_at_a_time() -> None:
    """An index is built once and searched often; it returns what the run of all queries holds."""
    index = Bm25Index(CORPUS)
    assert [item.id for item in index.search("foxes", 2)] == [
        item.id for item in Bm25Index(CORPUS).run({"q": "foxes"}, 2)["q"]
    ]
    assert index.search("the", 2) == index.search("", 2) == []

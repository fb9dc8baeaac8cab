"""Hard negatives: from any first stage, never a known positive, and none that a teacher finds relevant."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from worlds import Scripted

from secondpass import Candidate
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.evaluation import Bm25Index, retrieve_with
from secondpass.records import Unscored, UnscoredReason
from secondpass.training import Examples, Group, mine_negatives

pytestmark = pytest.mark.slow


Retrieve = Callable[[str, int], Sequence[Candidate]]
TEXTS = {
    "1": "a flea lives for months",
    "2": "fleas jump far",
    "3": "a flea can live up to a year",
    "4": "how long does a dog live",
    "5": "the market opens at nine",
}
QUESTION = Group("how long does a flea live", (TEXTS["1"],), (1.0,))
QUIET: dict[str, Any] = {"negatives": 2, "depth": 5, "progress": False}


def first_stage(_: str, limit: int) -> list[Candidate]:
    return [Candidate(text, id=key) for key, text in TEXTS.items()][:limit]


def vector(text: str) -> list[float]:
    """Return hashed counts of words: what is alike has words in common."""
    counts = [0.01] * 64
    for word in text.split():
        counts[hashlib.sha256(word.encode()).digest()[0] % 64] += 1
    return counts


def test_known_positives_are_never_negatives() -> None:
    """Neither in another spelling; the best unjudged candidates are taken, in the first stage's order."""
    positive = Group(QUESTION.query, ("A flea lives for months!",), (1.0,))
    mined = mine_negatives([positive], first_stage, **QUIET)
    assert mined.examples == Examples(
        (Group(QUESTION.query, (*positive.texts, TEXTS["2"], TEXTS["3"]), (1.0, 0.0, 0.0)),), "lists"
    )
    assert (mined.without_negatives, mined.negatives, mined.mean_rank, mined.refused) == (0, 2, 2.5, None)
    assert str(mined) == "2 hard negatives for 1 of 1 questions, mean rank 2.5, no guard"


def test_the_guard_keeps_relevant_texts_that_nobody_judged_out() -> None:
    """What a teacher scores within the margin of the weakest positive is refused and counted."""
    teacher = Scripted({TEXTS["1"]: 5.0, TEXTS["2"]: 3.9, TEXTS["3"]: 6.0, TEXTS["4"]: 4.5, TEXTS["5"]: -9.0})
    mined = mine_negatives([QUESTION], first_stage, guard=teacher, margin=1.0, **QUIET)
    (group,) = mined.examples.groups
    assert group.texts[1:] == (TEXTS["2"], TEXTS["5"])
    assert mined.refused == 2
    assert "2 refused by the guard" in str(mined)


def test_judged_negatives_are_kept_and_count() -> None:
    """Only what is missing is mined; a judged negative isn't mined again."""
    judged = Group(QUESTION.query, (TEXTS["1"], TEXTS["2"]), (1.0, 0.0))
    (group,) = mine_negatives([judged], first_stage, **QUIET).examples.groups
    assert group.texts == (TEXTS["1"], TEXTS["2"], TEXTS["3"])


def chroma() -> Retrieve:
    chromadb = pytest.importorskip("chromadb")

    class Words(chromadb.EmbeddingFunction):  # type: ignore[misc, name-defined]
        def __init__(self) -> None: ...
        def __call__(self, input: Sequence[str]) -> list[list[float]]:  # noqa: A002  Chroma's name
            return [vector(text) for text in input]

        @staticmethod
        def name() -> str:
            return "words"

        @staticmethod
        def build_from_config(_: dict[str, object]) -> "Words":
            return Words()

        def get_config(self) -> dict[str, object]:
            return {}

    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    collection = client.get_or_create_collection(
        "mining", embedding_function=Words(), configuration={"hnsw": {"space": "cosine"}}
    )
    collection.upsert(ids=list(TEXTS), documents=list(TEXTS.values()))
    return retrieve_with(collection)


def langchain_retriever() -> Retrieve:
    core = pytest.importorskip("langchain_core.vectorstores")
    from langchain_core.embeddings import Embeddings

    class Words(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector(text)

    store = core.InMemoryVectorStore(Words())
    store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    return retrieve_with(store.as_retriever(search_kwargs={"k": 5}))


def llama_index_retriever() -> Retrieve:
    llama_index = pytest.importorskip("llama_index.core")
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.schema import TextNode

    class Words(MockEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return vector(query)

    nodes = [TextNode(text=text, id_=key, embedding=vector(text)) for key, text in TEXTS.items()]
    index = llama_index.VectorStoreIndex(nodes, embed_model=Words(embed_dim=64))
    return retrieve_with(index.as_retriever(similarity_top_k=5))


@pytest.mark.parametrize("make", [lambda: Bm25Index(TEXTS).search, chroma, langchain_retriever, llama_index_retriever])
def test_any_first_stage_is_mined(make: Callable[[], Retrieve]) -> None:
    """BM25, a Chroma collection, and a retriever of either framework rank the texts that share words first."""
    (group,) = mine_negatives([QUESTION], make(), **QUIET).examples.groups
    assert set(group.texts[1:]) == {TEXTS["3"], TEXTS["4"]}


def test_bad_input_is_refused() -> None:
    """No positives, nothing found, a teacher that leaves pairs out, and numbers that can't work."""
    with pytest.raises(InputError, match="must have positives"):
        mine_negatives([Group("q", ("a",), (0.0,))], first_stage, **QUIET)
    with pytest.raises(InputError, match=r"no negative was found: .* lower the margin"):
        mine_negatives([QUESTION], first_stage, guard=Scripted({}), **QUIET)
    broken = Scripted({TEXTS["2"]: Unscored(UnscoredReason.INVALID)})
    with pytest.raises(ScoringError, match="must score every pair"):
        mine_negatives([QUESTION], first_stage, guard=broken, **QUIET)
    with pytest.raises(ConfigurationError, match="negatives and depth must be at least 1, got 4 and 0"):
        mine_negatives([QUESTION], first_stage, depth=0)

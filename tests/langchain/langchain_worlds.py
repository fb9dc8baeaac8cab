"""Small worlds for the LangChain tests: documents, embeddings, scorers and a handler that records."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import BaseMessage

from secondpass import Call, OverlapScorer, Reranker
from secondpass.errors import ScoringError
from secondpass.langchain import SecondPassRerank
from secondpass.scores import Pair, Scored

QUESTION = "when do swallows fly south"

TEXTS = {
    "bread": "Bread needs salt.",  # holds 0 of the question's 5 words
    "wall": "The south wall is warm.",  # 1
    "answer": "When summer ends, swallows fly south.",  # 4
    "fast": "Swallows fly fast.",  # 2
    "rain": "When it rains, swallows fly low.",  # 3
}
BY_RELEVANCE = ["answer", "rain", "fast", "wall", "bread"]


def documents(*names: str) -> list[Document]:
    """Return the named documents, or all of them, in the first stage's order."""
    return [Document(page_content=TEXTS[name], id=name, metadata={"source": name}) for name in names or TEXTS]


def ids(found: Sequence[Document]) -> list[str | None]:
    """Return the documents' ids."""
    return [document.id for document in found]


def overlap_compressor(**settings: Any) -> SecondPassRerank:
    """Return a compressor over the scorer that counts shared words."""
    return SecondPassRerank(reranker=Reranker(OverlapScorer()), **settings)


def tokens(text: str) -> list[str]:
    """Cut a text into words, marks and line breaks."""
    return re.findall(r"\w+|[^\w ]", text)


class BrokenScorer(OverlapScorer):
    """Breaks down at every call."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        raise ScoringError("the engine is on fire")


class WordEmbeddings(Embeddings):
    """Counts hashed words: deterministic, and texts that share words are near."""

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * 128
        for word in re.findall(r"\w+", text.casefold()):
            vector[zlib.crc32(word.encode()) % 128] += 1.0
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


@dataclass
class Run:
    """One run that a handler saw."""

    kind: str
    name: str
    run_id: UUID
    parent: UUID | None
    inputs: Any
    outputs: Any = None
    error: BaseException | None = None


class Recorder(BaseCallbackHandler):
    """Records every run of a chain or a retriever, and the messages that a chat model was given."""

    def __init__(self) -> None:
        self.runs: dict[UUID, Run] = {}
        self.messages: list[BaseMessage] = []

    def named(self, name: str) -> list[Run]:
        """Return the runs of this name, in the order of their starts."""
        return [run for run in self.runs.values() if run.name == name]

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self.runs[run_id] = Run("chain", str(kwargs.get("name")), run_id, parent_run_id, inputs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs[run_id].outputs = outputs

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs[run_id].error = error

    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self.runs[run_id] = Run("retriever", str(kwargs.get("name")), run_id, parent_run_id, query)

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        self.messages = messages[0]

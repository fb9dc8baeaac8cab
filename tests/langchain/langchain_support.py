"""Documents, embeddings and a recording callback handler for the LangChain tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from integration_support import BY_RELEVANCE, QUESTION, TEXTS, BrokenScorer, WaitingScorer, tokens, word_vector
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import BaseMessage

from secondpass import OverlapScorer, Reranker
from secondpass.langchain import SecondPassRerank

__all__ = [
    "BY_RELEVANCE",
    "QUESTION",
    "TEXTS",
    "BrokenScorer",
    "Recorder",
    "WaitingScorer",
    "WordEmbeddings",
    "documents",
    "ids",
    "overlap_compressor",
    "tokens",
]


def documents(*names: str) -> list[Document]:
    """Return the named documents, or all of them, in the first stage's order."""
    return [Document(page_content=TEXTS[name], id=name, metadata={"source": name}) for name in names or TEXTS]


def ids(found: Sequence[Document]) -> list[str | None]:
    """Return the documents' ids."""
    return [document.id for document in found]


def overlap_compressor(**settings: Any) -> SecondPassRerank:
    """Return a compressor over ``OverlapScorer``."""
    return SecondPassRerank(reranker=Reranker(OverlapScorer()), **settings)


class WordEmbeddings(Embeddings):
    """Embeds texts as hashed word counts."""

    def embed_query(self, text: str) -> list[float]:
        return word_vector(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


@dataclass
class Run:
    """One run that a handler recorded."""

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

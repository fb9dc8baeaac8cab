"""LangChain's own test suite for retrievers, over two stores."""

from pathlib import Path
from typing import Any

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_support import QUESTION, WordEmbeddings, documents, overlap_compressor
from langchain_tests.integration_tests import RetrieversIntegrationTests

from secondpass.langchain import TwoStageRetriever


class RetrieverSuite(RetrieversIntegrationTests):
    """What both runs of the suite have in common."""

    store: VectorStore

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return TwoStageRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store, "compressor": overlap_compressor()}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


class TestTwoStageRetrieverOverMemory(RetrieverSuite):
    """The suite over LangChain's store in memory."""

    @pytest.fixture(autouse=True)
    def _fill(self) -> None:
        self.store = InMemoryVectorStore(WordEmbeddings())
        self.store.add_documents(documents())


class TestTwoStageRetrieverOverChroma(RetrieverSuite):
    """The suite over Chroma."""

    @pytest.fixture(autouse=True)
    def _fill(self, tmp_path: Path) -> None:
        client = chromadb.PersistentClient(str(tmp_path))
        self.store = Chroma(collection_name="suite", embedding_function=WordEmbeddings(), client=client)
        self.store.add_documents(documents())

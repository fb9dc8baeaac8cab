"""The demo's vector store: an embedded Chroma collection on disk, built once and reused."""

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import chromadb
from chromadb.api import ClientAPI
from chromadb.config import Settings
from chromadb.errors import ChromaError
from numpy.typing import NDArray

from secondpass.candidates import Candidate
from secondpass.demo.corpus import Passage
from secondpass.demo.fetch import Report
from secondpass.errors import ConfigurationError

_ADD_AT_ONCE = 500
_SPACE: Any = {"hnsw": {"space": "cosine", "ef_search": 300}}  # a wide search, so that 100 neighbours are the true ones


class Embedder(Protocol):
    """What the index needs of a bi-encoder."""

    @property
    def fingerprint(self) -> str:
        """Everything that decides a vector, as one string."""
        ...

    def embed_query(self, question: str) -> NDArray[Any]:
        """Return a question's vector."""
        ...

    def embed_passages(self, texts: Sequence[str], report: Report) -> NDArray[Any]:
        """Return a vector for each text, in their order."""
        ...


class PassageIndex:
    """Passages by vector, on disk. Opening it builds it where it is missing, incomplete or out of date.

    :param folder: The store's folder; it is made where it is missing.
    :param passages: What can be found.
    :param embedder: Makes the vectors.
    :param report: Told while the passages are embedded; never called when the index is reused.
    :raises ConfigurationError: If the store on disk can't be used.
    """

    def __init__(self, folder: Path, passages: Sequence[Passage], embedder: Embedder, report: Report) -> None:
        self._folder = folder
        self._passages = {passage.id: passage for passage in passages}
        self.reused = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            client = chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))
            self._collection = self._open(client, collection_name(passages, embedder), passages, embedder, report)
        except (ChromaError, OSError) as error:
            raise self._unusable(error) from error

    def search(self, vector: NDArray[Any], limit: int) -> tuple[Candidate, ...]:
        """Return the nearest passages, best first, with the cosine as first-stage score.

        :param vector: The question's vector.
        :param limit: How many to return at most.
        :raises ConfigurationError: If the store on disk can't be used.
        """
        wanted = min(limit, len(self._passages))
        try:
            found = self._collection.query(query_embeddings=[vector], n_results=wanted, include=["distances"])
        except ChromaError as error:
            raise self._unusable(error) from error
        ids, distances = found["ids"][0], (found["distances"] or [[]])[0]
        return tuple(
            _candidate(self._passages[id_], 1.0 - distance, rank)
            for rank, (id_, distance) in enumerate(zip(ids, distances, strict=True), start=1)
        )

    def _open(
        self, client: ClientAPI, name: str, passages: Sequence[Passage], embedder: Embedder, report: Report
    ) -> chromadb.Collection:
        """Return the collection if it has every passage; else build it, once the vectors are all there."""
        there = name in {collection.name for collection in client.list_collections()}
        if there and (collection := client.get_collection(name, embedding_function=None)).count() == len(passages):
            return collection
        self.reused = False
        vectors = embedder.embed_passages([passage.text for passage in passages], report)
        if there:  # a build that was interrupted
            client.delete_collection(name)
        collection = client.create_collection(name, configuration=_SPACE, embedding_function=None)
        for start in range(0, len(passages), _ADD_AT_ONCE):
            chosen = passages[start : start + _ADD_AT_ONCE]
            collection.add(
                ids=[passage.id for passage in chosen],
                embeddings=vectors[start : start + _ADD_AT_ONCE],
                documents=[passage.text for passage in chosen],
                metadatas=[{"topic": passage.topic} for passage in chosen],
            )
        return collection

    def _unusable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"the index in {self._folder} can't be used ({error!s:.200}): delete that folder, and it is built anew"
        )


def collection_name(passages: Sequence[Passage], embedder: Embedder) -> str:
    """Return the name of the collection for exactly these passages, this embedder and this Python."""
    content = json.dumps([[passage.id, passage.topic, passage.text] for passage in passages])
    key = hashlib.sha256(f"{embedder.fingerprint}\n{content}".encode()).hexdigest()[:24]
    return f"python-{platform.python_version()}-{key}"


def _candidate(passage: Passage, score: float, rank: int) -> Candidate:
    return Candidate(passage.text, id=passage.id, score=score, rank=rank, source="chroma", payload=passage)

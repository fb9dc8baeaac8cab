"""The demo's index: a Chroma collection on disk that is built once and reused."""

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chromadb
from chromadb.errors import ChromaError

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError
from secondpass.samples.bi_encoder import BiEncoder, Report, Vectors

HNSW: Any = {"hnsw": {"space": "cosine", "ef_search": 300}}  # wide enough for exact results at 100 neighbours


class PassageIndex:
    """Passages by vector, on disk; a collection that is missing or incomplete is built.

    :param folder: The store's folder.
    :param passages: The texts by id; other passages get another collection.
    :param bi_encoder: Makes the vectors; another one gets another collection.
    :param report: Called while the passages are embedded.
    :raises ConfigurationError: If the store on disk can't be used.
    """

    def __init__(self, folder: Path, passages: Mapping[str, str], bi_encoder: BiEncoder, report: Report) -> None:
        self._folder = folder
        texts = list(passages.values())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            client = chromadb.PersistentClient(folder, chromadb.Settings(anonymized_telemetry=False))
            name = collection_name(passages, bi_encoder)
            self._collection = client.get_or_create_collection(name, configuration=HNSW, embedding_function=None)
            self.reused = self._collection.count() == len(passages)
            if not self.reused:
                vectors: Any = bi_encoder.embed_passages(texts, report)
                self._collection.upsert(list(passages), vectors, documents=texts)
        except (ChromaError, OSError) as error:
            raise unusable(folder, error) from error

    def search(self, vector: Vectors, limit: int) -> list[Candidate]:
        """Return the nearest passages, best first, with the cosine as first-stage score.

        :param vector: The question's vector, (dimensions,).
        :param limit: The most to return.
        :raises ConfigurationError: If the store on disk can't be used.
        """
        try:
            return nearest(self._collection, vector, limit)
        except ChromaError as error:
            raise unusable(self._folder, error) from error


def nearest(collection: chromadb.Collection, vector: Vectors, limit: int) -> list[Candidate]:
    """Return a collection's passages nearest to a vector, best first, with the cosine as first-stage score.

    :param collection: The collection.
    :param vector: The question's vector, (dimensions,).
    :param limit: The most to return.
    """
    query: Any = [vector]
    result = collection.query(query, n_results=limit, include=["documents", "distances", "metadatas"])
    rows = zip(*(result[name][0] for name in ("ids", "documents", "distances", "metadatas")), strict=True)
    return [
        Candidate(text, id=id_, score=1.0 - distance, rank=rank, source=(entry or {}).get("source", "chroma"))
        for rank, (id_, text, distance, entry) in enumerate(rows, start=1)
    ]


def unusable(folder: Path, error: Exception) -> ConfigurationError:
    """Return the error for a store that fails."""
    return ConfigurationError(
        f"the index in {folder} can't be used ({error!s:.200}): delete that folder, and it is built again"
    )


def collection_name(passages: Mapping[str, str], bi_encoder: BiEncoder) -> str:
    """Return the collection's name, which is another one for other passages, another bi-encoder or another Python."""
    content = json.dumps([bi_encoder.fingerprint, *passages.items()])
    return f"python-{platform.python_version()}-{hashlib.sha256(content.encode()).hexdigest()[:24]}"

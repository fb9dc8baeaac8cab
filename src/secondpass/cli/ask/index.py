"""The index of ``secondpass ask``: passages by vector, in Chroma, brought up to date at each run."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings
from chromadb.errors import ChromaError

from secondpass.cli.ask.bi_encoder import BiEncoder
from secondpass.errors import ConfigurationError
from secondpass.records import Candidate

_HNSW: Any = {"hnsw": {"space": "cosine", "ef_search": 300}}  # wide enough for exact results at 100 neighbours
_GROUP = 128  # passages that are embedded and written together


class Index:
    """The passages of one corpus by vector.

    :param store: The folder of all indexes.
    :param corpus: The corpus's name; another one gets another collection.
    :param bi_encoder: Makes the vectors; another one gets another collection.
    :raises ConfigurationError: If the store can't be used.
    """

    def __init__(self, store: Path, corpus: str, bi_encoder: BiEncoder) -> None:
        self._store, self._bi_encoder = store, bi_encoder
        name = hashlib.sha256(json.dumps([corpus, bi_encoder.fingerprint]).encode()).hexdigest()[:24]
        with self._usable():
            store.mkdir(parents=True, exist_ok=True)
            client = chromadb.PersistentClient(store, Settings(anonymized_telemetry=False))
            self._collection = client.get_or_create_collection(name, configuration=_HNSW, embedding_function=None)

    def update(self, passages: Mapping[str, str], report: Callable[[int, int], None]) -> int:
        """Embed new and changed passages, remove those that are gone, and return how many were embedded.

        :param passages: All passages by id.
        :param report: Called with how many are embedded, and of how many.
        :raises ConfigurationError: If the store can't be used.
        """
        with self._usable():
            found: Any = self._collection.get(include=["documents"])
            stored: dict[str, str] = dict(zip(found["ids"], found["documents"], strict=True))
            if gone := stored.keys() - passages.keys():
                self._collection.delete([*gone])
            todo = [id_ for id_, text in passages.items() if stored.get(id_) != text]
            for start in range(0, len(todo), _GROUP):
                report(start, len(todo))
                ids = todo[start : start + _GROUP]
                texts = [passages[id_] for id_ in ids]
                vectors: Any = self._bi_encoder.embed_passages(texts)
                self._collection.upsert(ids, vectors, documents=texts)
        return len(todo)

    def search(self, question: str, limit: int) -> list[Candidate]:
        """Return the nearest passages, best first, with the cosine as first-stage score and the document as source.

        :param question: The question.
        :param limit: The most to return.
        :raises ConfigurationError: If the store can't be used.
        """
        vector: Any = [self._bi_encoder.embed_query(question)]
        with self._usable():
            result: Any = self._collection.query(vector, n_results=limit, include=["documents", "distances"])
        rows = zip(*(result[name][0] for name in ("ids", "documents", "distances")), strict=True)
        return [
            Candidate(text, id=id_, score=1.0 - distance, rank=rank, source=id_.rpartition("#")[0])
            for rank, (id_, text, distance) in enumerate(rows, start=1)
        ]

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn errors of a damaged or unwritable store into one that says what to do."""
        try:
            yield
        except (ChromaError, OSError) as error:
            raise ConfigurationError(
                f"the index in {self._store} can't be used ({error!s:.200}): delete that folder, and it is built again"
            ) from error

"""The index of a folder: a Chroma collection on disk, brought up to date with the files at each run."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chromadb
from chromadb.errors import ChromaError

from secondpass.candidates import Candidate
from secondpass.cli.ask.files import read_passages
from secondpass.cli.demo.index import HNSW, nearest, unusable
from secondpass.samples.bi_encoder import BiEncoder, Report, Vectors

_VERSION = 1  # of the passages; another one is another collection
_GROUP = 512  # passages that are embedded and written together


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update has changed.

    :param embedded: How many files are new or changed.
    :param removed: How many are gone.
    :param passages: How many passages there are now.
    """

    embedded: int
    removed: int
    passages: int


class FolderIndex:
    """The passages of a folder's files by vector, on disk.

    :param store: The store's folder.
    :param folder: The folder with the files; another one gets another collection.
    :param bi_encoder: Makes the vectors; another one gets another collection.
    :raises ConfigurationError: If the store can't be used.
    """

    def __init__(self, store: Path, folder: Path, bi_encoder: BiEncoder) -> None:
        self._store, self._folder, self._bi_encoder = store, folder, bi_encoder
        name = hashlib.sha256(json.dumps([str(folder.resolve()), bi_encoder.fingerprint, _VERSION]).encode())
        try:
            store.mkdir(parents=True, exist_ok=True)
            client = chromadb.PersistentClient(store, chromadb.Settings(anonymized_telemetry=False))
            self._collection = client.get_or_create_collection(
                f"folder-{name.hexdigest()[:24]}", configuration=HNSW, embedding_function=None
            )
        except (ChromaError, OSError) as error:
            raise unusable(store, error) from error

    def update(self, digests: Mapping[str, str], report: Report) -> Changes:
        """Embed files that are new or changed, and remove those that are gone.

        :param digests: The files' hashes by their paths in the folder.
        :param report: Called with the files that are done and their number.
        :raises ConfigurationError: If the store can't be used.
        """
        try:
            indexed = self._indexed()
            stale = {name: ids for name, ids in indexed.items() if digests.get(name[0]) != name[1]}
            gone = [id_ for ids in stale.values() for id_ in ids]
            for start in range(0, len(gone), _GROUP):
                self._collection.delete(ids=gone[start : start + _GROUP])
            current = indexed.keys() - stale.keys()
            todo = [name for name, digest in digests.items() if (name, digest) not in current]
            self._embed({name: digests[name] for name in todo}, report)
            removed = {name for name, _ in stale if name not in digests}
            return Changes(len(todo), len(removed), self._collection.count())
        except (ChromaError, OSError) as error:
            raise unusable(self._store, error) from error

    def search(self, vector: Vectors, limit: int) -> list[Candidate]:
        """Return the nearest passages, best first, with the cosine as first-stage score and the file as source.

        :param vector: The question's vector, (dimensions,).
        :param limit: The most to return.
        :raises ConfigurationError: If the store can't be used.
        """
        try:
            return nearest(self._collection, vector, limit)
        except ChromaError as error:
            raise unusable(self._store, error) from error

    def _indexed(self) -> dict[tuple[str, str], list[str]]:
        """Return the ids of each file's passages by its path and hash; the hash of an incomplete one is empty."""
        stored: Any = self._collection.get(include=["metadatas"])
        ids: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
        for id_, entry in zip(stored["ids"], stored["metadatas"], strict=True):
            ids[entry["source"], entry["digest"], entry["passages"]].append(id_)
        files: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for (name, digest, passages), own in ids.items():
            files[name, digest if len(own) == passages else ""] += own
        return files

    def _embed(self, digests: Mapping[str, str], report: Report) -> None:
        texts: list[tuple[str, str, dict[str, Any]]] = []
        for done, (name, digest) in enumerate(digests.items(), start=1):
            passages = read_passages(self._folder / name)
            entry = {"source": name, "digest": digest, "passages": len(passages)}
            texts += [(f"{name}#{number}", passage, entry) for number, passage in enumerate(passages, start=1)]
            while len(texts) >= _GROUP:
                self._write(texts[:_GROUP])
                texts = texts[_GROUP:]
            report(done, len(digests))
        if texts:
            self._write(texts)

    def _write(self, group: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        ids, passages, entries = (list(column) for column in zip(*group, strict=True))
        vectors: Any = self._bi_encoder.embed_passages(passages)
        self._collection.upsert(ids, vectors, documents=passages, metadatas=entries)

"""The demo's first stage: a bi-encoder, and a Chroma collection on disk that is built once and reused."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import onnxruntime as ort
from chromadb.errors import ChromaError
from numpy.typing import NDArray
from tokenizers import Tokenizer

from secondpass.candidates import Candidate
from secondpass.cli.demo.fetch import MEMBERS
from secondpass.errors import ConfigurationError
from secondpass.scoring.hardware import cpu_count

Vectors = NDArray[np.float32]
Report = Callable[[int, int], None]
"""Called with what is done and the total."""

_QUERY_PREFIX = "Represent this sentence for searching relevant passages: "  # from the model's card; passages have none
_MAX_TOKENS = 256
_BATCH = 16
_HNSW: Any = {"hnsw": {"space": "cosine", "ef_search": 300}}  # wide enough for exact results at 100 neighbours


class BiEncoder:
    """Embeds texts as vectors of length one, so that a dot product is a cosine.

    :param folder: Holds ``model.onnx``, whose first output is the last hidden state, and ``tokenizer.json``.
    """

    def __init__(self, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = cpu_count()
        options.log_severity_level = 3  # its warnings are about its own graph optimisations
        self._session = ort.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()  # to the longest of a batch; the file says to 512 always
        self.fingerprint = repr((MEMBERS, _MAX_TOKENS, _BATCH))

    def embed_query(self, question: str) -> Vectors:
        """Return a question's vector, (dimensions,)."""
        vector: Vectors = self._forward([_QUERY_PREFIX + question])[0]
        return vector

    def embed_passages(self, texts: Sequence[str], report: Report = lambda _done, _total: None) -> Vectors:
        """Return one vector for each text, (texts, dimensions).

        :param texts: The passages; they are batched by length.
        :param report: Called after each batch with the number of texts done and their total.
        """
        by_length = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        batches: list[Vectors] = []
        for start in range(0, len(texts), _BATCH):
            batches.append(self._forward([texts[position] for position in by_length[start : start + _BATCH]]))
            report(min(start + _BATCH, len(texts)), len(texts))
        vectors: Vectors = np.concatenate(batches)[np.argsort(by_length)]
        return vectors

    def _forward(self, texts: Sequence[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(list(texts))
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings]),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings]),
            "token_type_ids": np.array([encoding.type_ids for encoding in encodings]),
        }
        first: Vectors = self._session.run(None, inputs)[0][:, 0]  # the model pools by its first token
        vectors: Vectors = first / np.linalg.norm(first, axis=1, keepdims=True)
        return vectors


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
            self._collection = client.get_or_create_collection(name, configuration=_HNSW, embedding_function=None)
            self.reused = self._collection.count() == len(passages)
            if not self.reused:
                vectors: Any = bi_encoder.embed_passages(texts, report)
                self._collection.upsert(list(passages), vectors, documents=texts)
        except (ChromaError, OSError) as error:
            raise self._unusable(error) from error

    def search(self, vector: Vectors, limit: int) -> list[Candidate]:
        """Return the nearest passages, best first, with the cosine as first-stage score.

        :param vector: The question's vector, (dimensions,).
        :param limit: The most to return.
        :raises ConfigurationError: If the store on disk can't be used.
        """
        query: Any = [vector]
        try:
            result = self._collection.query(query, n_results=limit, include=["documents", "distances"])
        except ChromaError as error:
            raise self._unusable(error) from error
        rows = zip(result["ids"][0], result["documents"][0], result["distances"][0], strict=True)
        return [
            Candidate(text, id=id_, score=1.0 - distance, rank=rank, source="chroma")
            for rank, (id_, text, distance) in enumerate(rows, start=1)
        ]

    def _unusable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"the index in {self._folder} can't be used ({error!s:.200}): delete that folder, and it is built again"
        )


def collection_name(passages: Mapping[str, str], bi_encoder: BiEncoder) -> str:
    """Return the collection's name, which is another one for other passages, another bi-encoder or another Python."""
    content = json.dumps([bi_encoder.fingerprint, *passages.items()])
    return f"python-{platform.python_version()}-{hashlib.sha256(content.encode()).hexdigest()[:24]}"

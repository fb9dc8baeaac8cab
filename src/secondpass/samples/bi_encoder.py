"""The samples' bi-encoder, run by ONNX Runtime."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from secondpass.samples.fetch import MEMBERS, cache_folder, fetch_bi_encoder
from secondpass.scoring.hardware import cpu_count

Vectors = NDArray[np.float32]
Report = Callable[[int, int], None]
"""Called with what is done and the total."""

_QUERY_PREFIX = "Represent this sentence for searching relevant passages: "  # from the model's card; passages have none
_MAX_TOKENS = 256
_BATCH = 16


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


@lru_cache(maxsize=1)
def load_bi_encoder() -> BiEncoder:
    """Return the bi-encoder, loaded once a process, and fetched first where the cache lacks it.

    :raises ModelNotFound: If it can't be fetched.
    """
    return BiEncoder(fetch_bi_encoder(cache_folder()))


def embed_cached(texts: Sequence[str], report: Report = lambda _done, _total: None) -> Vectors:
    """Return one vector for each text, (texts, dimensions), from a file in the cache where they were embedded before.

    :param texts: The passages.
    :param report: Called after each batch with the number of texts done and their total.
    :raises ModelNotFound: If the bi-encoder can't be fetched.
    """
    bi_encoder = load_bi_encoder()
    key = hashlib.sha256(json.dumps([bi_encoder.fingerprint, *texts]).encode()).hexdigest()
    file = cache_folder() / "vectors" / f"{key[:24]}.npy"
    if file.is_file():
        stored: Vectors = np.load(file)
        return stored
    vectors = bi_encoder.embed_passages(texts, report)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.npy")  # a concurrent run may read the final name
    np.save(partial, vectors)
    partial.replace(file)
    return vectors

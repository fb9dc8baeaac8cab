"""The demo's first stage: a bi-encoder over ONNX Runtime, which reads question and passage each by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from secondpass.demo.fetch import Report
from secondpass.scoring.devices import probe
from secondpass.scoring.model_files import weights_hash

Vectors = NDArray[np.float32]

QUERY_PREFIX = "Represent this sentence for searching relevant passages: "
"""What the model was trained to find before a question; passages go without."""

_LONGEST = 256  # tokens; passages of the demo are shorter, apart from a few of grammar
_BATCH = 16


class BiEncoder:
    """Turns texts into vectors of length one, whose cosine says how near two texts are.

    :param folder: Holds ``model.onnx``, whose first output is the last hidden state, and ``tokenizer.json``.
    """

    def __init__(self, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = probe().cpus
        options.log_severity_level = 3  # its warnings are about its own graph rewriting
        graph = folder / "model.onnx"
        self._session = ort.InferenceSession(str(graph), options, ["CPUExecutionProvider"])
        self._inputs = [item.name for item in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()  # to the longest of a batch; the file says to 512, whatever comes
        self.fingerprint = f"{weights_hash(graph)}-{_LONGEST}-{_BATCH}"

    def embed_query(self, question: str) -> Vectors:
        """Return a question's vector."""
        vector: Vectors = self._forward([QUERY_PREFIX + question])[0]
        return vector

    def embed_passages(self, texts: Sequence[str], report: Report) -> Vectors:
        """Return a vector for each text, in their order.

        :param texts: The passages.
        :param report: Told after each batch how many are done.
        """
        by_length = sorted(range(len(texts)), key=lambda position: (len(texts[position]), position))
        batches = [by_length[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        done: list[Vectors] = []
        for number, batch in enumerate(batches, start=1):
            done.append(self._forward([texts[position] for position in batch]))
            report(min(number * _BATCH, len(texts)), len(texts))
        vectors: Vectors = np.concatenate(done)[np.argsort(by_length)]
        return vectors

    def _forward(self, texts: Sequence[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(list(texts))
        columns: dict[str, list[Any]] = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feeds = {name: np.asarray(columns[name], dtype=np.int64) for name in self._inputs}
        hidden = np.asarray(self._session.run(None, feeds)[0], dtype=np.float32)
        first = hidden[:, 0]  # the model was trained to gather the meaning in its first token
        vectors: Vectors = first / np.linalg.norm(first, axis=1, keepdims=True)
        return vectors

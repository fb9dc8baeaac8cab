"""Finds the candidates that are hard to tell from the answer: what words find, and what meaning finds."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from secondpass.demo.bi_encoder import QUERY_PREFIX, BiEncoder
from secondpass.demo.weights import PINS, obtain_weights

Positions = NDArray[np.int64]
Vectors = NDArray[np.float32]

K1, B = 0.9, 0.4
_EMBEDDED_CHARACTERS = 240  # of a passage: finding neighbours needs no more, and the time goes with the length
_CHUNK = 1024  # queries whose likeness to all passages is held at once
_SAVED = 2048  # texts after which the vectors so far are saved


def by_words(queries: Sequence[str], texts: Sequence[str], count: int) -> Positions:
    """Return BM25's best passages for each query, as positions, best first."""
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25(k1=K1, b=B)
    index.index(bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries), stopwords="en", stemmer=stemmer, show_progress=False)
    found, _ = index.retrieve(tokens, k=count, show_progress=False)
    return np.asarray(found, dtype=np.int64)


def by_meaning(
    queries: Sequence[str], texts: Sequence[str], count: int, cache: Path, say: Callable[[str], None]
) -> Positions:
    """Return the bi-encoder's nearest passages for each query, as positions, best first.

    The model is int8 and takes its scales from a whole batch, so a vector depends a little on the texts that were
    embedded with it: two runs are alike to the last digit when both begin with the same cache, such as an empty one.

    :param cache: Keeps the weights and every vector, so that another run embeds only what is new.
    """
    encoder = BiEncoder(obtain_weights(cache, _quiet).bi_encoder)
    passages = _embedded(encoder, [text[:_EMBEDDED_CHARACTERS] for text in texts], cache, say)
    asked = _embedded(encoder, [QUERY_PREFIX + text for text in queries], cache, say)
    best: list[Positions] = []
    for start in range(0, len(asked), _CHUNK):
        likeness = asked[start : start + _CHUNK] @ passages.T
        top = np.argpartition(-likeness, count, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(likeness, top, axis=1), axis=1, kind="stable")
        best.append(np.take_along_axis(top, order, axis=1))
    return np.concatenate(best)


def _embedded(encoder: BiEncoder, texts: Sequence[str], cache: Path, say: Callable[[str], None]) -> Vectors:
    """Return a vector for each text, those that are not in the cache computed and put there."""
    path = cache / f"vectors-{encoder.fingerprint[:16]}.npz"
    known = _load(path)
    names = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    missing = [(name, text) for name, text in dict(zip(names, texts, strict=True)).items() if name not in known]
    for start in range(0, len(missing), _SAVED):
        batch = missing[start : start + _SAVED]
        vectors = encoder.embed_passages([text for _, text in batch], _quiet).astype(np.float16)
        known.update(zip([name for name, _ in batch], vectors, strict=True))
        _save(path, known)
        say(f"{start + len(batch):,} of {len(missing):,} texts embedded")
    return np.stack([known[name] for name in names]).astype(np.float32)


def _load(path: Path) -> dict[str, NDArray[np.float16]]:
    if not path.is_file():
        return {}
    with np.load(path) as stored:
        return dict(zip(stored["names"].tolist(), stored["vectors"], strict=True))


def _save(path: Path, known: dict[str, NDArray[np.float16]]) -> None:
    partial = path.with_suffix(".part.npz")
    np.savez(partial, names=np.array(list(known)), vectors=np.stack(list(known.values())))
    partial.replace(path)


def _quiet(done: int, total: int) -> None:
    """Report nothing."""


def encoder_name() -> str:
    """Return what the manifest calls the bi-encoder."""
    return f"{PINS.bi_encoder.name} from the wheel {PINS.package.name} {PINS.package.version}"

"""What the examples share: real texts with judged questions, the bi-encoder in each framework's form, and figures."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from langchain_core.embeddings import Embeddings
from llama_index.core.embeddings import BaseEmbedding

from secondpass import Candidate
from secondpass.cli.ask.bi_encoder import BiEncoder, Vectors, cache_folder, fetch_bi_encoder
from secondpass.cli.ask.passages import python_reference
from secondpass.evaluation import Question

JUDGED = {  # a question about Python, and what only passages that answer it hold
    "why does a list as a default argument keep its values between calls?": "default parameter values are evaluated",
    "what does a star before an argument mean in a call?": "appears in the function call",
    "how do I assign to a variable of the enclosing function?": "rebind",
    "what happens to an exception when the finally block returns?": "saved exception is discarded",
    "can I write a < b < c?": "can be chained",
    "how do I hide the original exception when I raise a new one?": "from none",
    "why does reading a local variable before it is assigned fail?": "unboundlocalerror",
    "which values count as false in an if?": "considered false",
    "is 2 ** 3 ** 2 computed from the left or from the right?": "right to left",
    "how do I fill a number with zeros on the left?": "zfill",
    "how do I cut a known beginning off a string?": "removeprefix",
    "how do I compare strings without regard to upper and lower case?": "casefold",
    "are the keys of a dictionary ordered?": "insertion order",
    "how do I run code whenever my class is inherited from?": "__init_subclass__",
    "what is called when a key is missing in a subclass of dict?": "__missing__",
    "what happens to names with two leading underscores in a class?": "name mangling",
    "how do I switch off checks with the -O option?": "__debug__",
    "which case blocks of a match statement always succeed?": "irrefutable",
    "how do I save memory in instances that have few attributes?": "__slots__",
    "what can I use await on?": "awaitable",
}
DATA = Path(__file__).parent / "data"


def passages(topics: Sequence[str] = ()) -> dict[str, str]:
    """Return passages of Python's language reference by id; of some topics alone, where they are named."""
    return {key: text for key, text in python_reference().items() if not topics or key.partition("#")[0] in topics}


def questions(corpus: Mapping[str, str]) -> list[Question]:
    """Return the judged questions that these passages answer."""
    flat = {key: " ".join(text.split()).casefold() for key, text in corpus.items()}
    judged = {asked: [key for key, text in flat.items() if phrase in text] for asked, phrase in JUDGED.items()}
    return [Question(asked, relevant=relevant) for asked, relevant in judged.items() if relevant]


def read_data(name: str) -> Any:
    """Return a JSON file of the examples' own data."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def load_bi_encoder() -> BiEncoder:
    """Return the bi-encoder, loaded once a process, and fetched first where the cache lacks it.

    :raises ModelNotFound: If it can't be fetched.
    """
    return BiEncoder(fetch_bi_encoder(cache_folder()))


def embed_cached(texts: Sequence[str]) -> Vectors:
    """Return one vector for each text, (texts, dimensions), from a file in the cache where they were embedded before.

    :param texts: The passages.
    :raises ModelNotFound: If the bi-encoder can't be fetched.
    """
    bi_encoder = load_bi_encoder()
    key = hashlib.sha256(json.dumps([bi_encoder.fingerprint, *texts]).encode()).hexdigest()
    file = cache_folder() / "vectors" / f"{key[:24]}.npy"
    if file.is_file():
        stored: Vectors = np.load(file)
        return stored
    vectors = bi_encoder.embed_passages(texts)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.npy")  # a concurrent run may read the final name
    np.save(partial, vectors)
    partial.replace(file)
    return vectors


@lru_cache(maxsize=1)
def chroma_client() -> Any:
    """Return Chroma in memory, one client a process: it closes no connections when it is collected."""
    return chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))


class ChromaIndex:
    """A Chroma collection in memory over texts by id, with the bi-encoder's vectors.

    :param texts: The texts by id.
    :param metadata: Further fields of each text, in the same order.
    """

    def __init__(self, texts: Mapping[str, str], metadata: Sequence[Mapping[str, Any]] | None = None) -> None:
        space: Any = {"hnsw": {"space": "cosine", "ef_search": 1000}}
        name = f"texts-{time.monotonic_ns()}"
        self.collection = chroma_client().create_collection(name, configuration=space, embedding_function=None)
        if texts:
            vectors: Any = embed_cached(list(texts.values()))
            fields: Any = metadata
            self.collection.add(list(texts), vectors, fields, list(texts.values()))

    def search(self, query: str, limit: int = 100, where: Mapping[str, Any] | None = None) -> list[Candidate]:
        """Return the nearest texts, best first, with the cosine as score and the text's fields as metadata."""
        vector: Any = [load_bi_encoder().embed_query(query)]
        condition: Any = where or None
        result: Any = self.collection.query(vector, n_results=limit, where=condition)
        columns = (result[name][0] for name in ("ids", "documents", "distances", "metadatas"))
        return [
            Candidate(text, id=key, score=1.0 - distance, rank=rank, source="chroma", metadata=fields or {})
            for rank, (key, text, distance, fields) in enumerate(zip(*columns, strict=True), start=1)
        ]


class LangChainEmbeddings(Embeddings):
    """The bi-encoder as LangChain's ``Embeddings``."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector for each text."""
        return [list(map(float, vector)) for vector in embed_cached(texts)]

    def embed_query(self, text: str) -> list[float]:
        """Return a question's vector."""
        return list(map(float, load_bi_encoder().embed_query(text)))


class LlamaIndexEmbedding(BaseEmbedding):
    """The bi-encoder as LlamaIndex's ``BaseEmbedding``."""

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [list(map(float, vector)) for vector in embed_cached(texts)]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return list(map(float, load_bi_encoder().embed_query(query)))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


@contextmanager
def timed(times: dict[str, float], name: str) -> Iterator[None]:
    """Write the milliseconds of processor time that a block took, all threads together, under a name.

    On an idle machine the wall-clock time is about this time divided by the threads; on a busy one it says nothing.
    """
    started = time.process_time()
    yield
    times[name] = (time.process_time() - started) * 1000


def row(*cells: object, widths: Sequence[int] = ()) -> str:
    """Return cells as one line of a table: numbers with three digits, texts cut to the widths."""
    written = [f"{cell:.3f}" if isinstance(cell, float) else " ".join(str(cell).split()) for cell in cells]
    return "  ".join(
        text[:width].ljust(width) for text, width in zip(written, widths or map(len, written), strict=True)
    )

"""The request and response forms of reranking servers, as data; nothing here needs an HTTP library.

Sources: infinity_emb's ``RerankInput`` and the documentation of text-embeddings-inference, vLLM, llama.cpp's server,
NVIDIA NIM, System One and Perplexity's decisions; for Cohere, Jina, Voyage and Mixedbread their clients. No hosted
service was asked: docs/remote.md says what was tried on a real server.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from secondpass.errors import ScoringError, checked
from secondpass.records import LOGIT, PROBABILITY, Scale, ScaleKind

_NORMALISED = Scale(ScaleKind.BOUNDED, 0.0, 1.0, declared="normalised relevance, no probability")
_MODEL_DEPENDENT = Scale(ScaleKind.UNKNOWN, declared="the model's own: give scale=")


@checked
@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server is asked, and how it answers.

    :param name: Its name for users.
    :param url: The hosted service; empty for a server of one's own, whose URL the user gives.
    :param path: Where the requests go.
    :param key_variable: The environment variable of the API key.
    :param scale: The scale of the scores in its answers.
    :param limit: The most texts of one request.
    :param texts: The key of the texts in a request.
    :param top: The key of the number of results wanted; empty where all are returned anyway.
    :param text_key: The key under which the query and each text are wrapped; empty for plain strings.
    :param fixed: Further entries of every request.
    :param results: The key of the results in an answer; empty where the answer is the list.
    :param score: The key of a result's score.
    """

    name: str
    url: str
    path: str
    key_variable: str
    scale: Scale
    limit: int = 1000
    texts: str = "documents"
    top: str = ""
    text_key: str = ""
    fixed: Mapping[str, object] = field(default_factory=dict, hash=False)
    results: str = "results"
    score: str = "relevance_score"

    def request(self, model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {"query": self._wrapped(query), self.texts: [self._wrapped(text) for text in texts]}
        if model is not None:
            body["model"] = model
        if self.top:
            body[self.top] = len(texts)
        return {**body, **self.fixed}

    def scores(self, answer: object) -> Iterator[tuple[object, object]]:
        """Yield index and score of each result, as they came.

        :raises ScoringError: If the answer hasn't the form of this dialect.
        """
        results = answer.get(self.results) if self.results and isinstance(answer, dict) else answer
        if not isinstance(results, list):
            where = f"under {self.results!r}" if self.results else "as its body"
            raise ScoringError(f"an answer of {self.name} must have a list of results {where}, got {_kind(answer)}")
        for result in results:
            if not isinstance(result, dict):
                raise ScoringError(f"a result of {self.name} must be an object, got {_kind(result)}")
            yield result.get("index"), result.get(self.score)

    def _wrapped(self, text: str) -> str | dict[str, str]:
        return {self.text_key: text} if self.text_key else text


@dataclass(frozen=True, slots=True)
class DecisionDialect(Dialect):
    """Typed decisions: the query is the state, and each text is one question with a probability as its answer."""

    def request(self, model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
        """Return the body of a request."""
        questions = {
            f"d{position}": {
                "type": "noul",
                "instructions": f"Does this document answer the query or help to answer it?\n\nDocument:\n{text}",
            }
            for position, text in enumerate(texts)
        }
        return {"state": {"query": query}, "questions": questions} | ({} if model is None else {"model": model})

    def scores(self, answer: object) -> Iterator[tuple[object, object]]:
        """Yield index and score of each answer, as they came.

        :raises ScoringError: If the answer hasn't the form of this dialect.
        """
        answers = answer.get("answers") if isinstance(answer, dict) else None
        if not isinstance(answers, dict):
            raise ScoringError(f"an answer of {self.name} must have an object 'answers', got {_kind(answer)}")
        for name, item in answers.items():
            number = name.removeprefix("d")
            index = int(number) if re.fullmatch(r"d[0-9]{1,9}", name) else name  # Python reads no longer numbers
            yield index, item.get("noul") if isinstance(item, dict) else None


def _kind(value: object) -> str:
    return f"an object with {sorted(map(str, value))!s:.80}" if isinstance(value, dict) else type(value).__name__


_SYSTEM_ONE = DecisionDialect(
    "systemone", "https://api.typesafe.ai", "/v1/systemone", "TYPESAFE_API_KEY", PROBABILITY, 64
)
_ALL = (
    Dialect("cohere", "https://api.cohere.com", "/v2/rerank", "CO_API_KEY", _NORMALISED, top="top_n"),
    Dialect(
        "jina",
        "https://api.jina.ai",
        "/v1/rerank",
        "JINA_API_KEY",
        _NORMALISED,
        top="top_n",
        fixed={"return_documents": False},
    ),
    Dialect(
        "voyage",
        "https://api.voyageai.com",
        "/v1/rerank",
        "VOYAGE_API_KEY",
        _NORMALISED,
        top="top_k",
        fixed={"truncation": True},
        results="data",
    ),
    Dialect(
        "mixedbread",
        "https://api.mixedbread.com",
        "/v1/reranking",
        "MXBAI_API_KEY",
        _NORMALISED,
        texts="input",
        top="top_k",
        fixed={"return_input": False},
        results="data",
        score="score",
    ),
    Dialect(  # its server's default limit is --max-client-batch-size 32
        "tei",
        "",
        "/rerank",
        "TEI_API_KEY",
        LOGIT,
        limit=32,
        texts="texts",
        fixed={"raw_scores": True, "truncate": True},
        results="",
        score="score",
    ),
    Dialect("infinity", "", "/rerank", "INFINITY_API_KEY", LOGIT, limit=2048, top="top_n", fixed={"raw_scores": True}),
    Dialect(  # -1 is what the model reads; without it a longer text is refused
        "vllm", "", "/v1/rerank", "VLLM_API_KEY", PROBABILITY, top="top_n", fixed={"truncate_prompt_tokens": -1}
    ),
    Dialect("llamacpp", "", "/v1/rerank", "LLAMA_API_KEY", _MODEL_DEPENDENT, top="top_n"),
    Dialect(
        "nim",
        "",
        "/v1/ranking",
        "NVIDIA_API_KEY",
        LOGIT,
        limit=512,
        texts="passages",
        text_key="text",
        fixed={"truncate": "END"},
        results="rankings",
        score="logit",
    ),
    _SYSTEM_ONE,
    replace(
        _SYSTEM_ONE,
        name="perplexity",
        url="https://api.perplexity.ai",
        path="/v1/decisions",
        key_variable="PERPLEXITY_API_KEY",
        limit=128,
    ),
    Dialect("secondpass", "", "/rerank", "SECONDPASS_API_KEY", PROBABILITY, top="top_n", fixed={"scores_only": True}),
)
DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""The dialects by name."""


def is_remote(model: object) -> bool:
    """Return whether a model's name is one of a dialect's, such as ``cohere:rerank-v3.5``."""
    dialect, colon, _ = model.partition(":") if isinstance(model, str) else ("", "", "")
    return bool(colon) and dialect in DIALECTS

"""Texts, scorers, models and adapters that the tests of both integrations share."""

import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from secondpass import Call, LoadOptions, OverlapScorer, Reranker, langchain, llama_index
from secondpass.errors import ScoringError
from secondpass.records import Pair, Scored
from secondpass.scoring.named import LOADED_MODELS
from secondpass.scoring.scorer import Scorer

QUESTION = "when do swallows fly south"

TEXTS = {
    "bread": "Bread needs salt.",  # has 0 of the question's 5 words
    "wall": "The south wall is warm.",  # 1
    "answer": "When summer ends, swallows fly south.",  # 4
    "fast": "Swallows fly fast.",  # 2
    "rain": "When it rains, swallows fly low.",  # 3
}
BY_RELEVANCE = ["answer", "rain", "fast", "wall", "bread"]
FIRST_STAGE = {name: 0.9 - rank / 10 for rank, name in enumerate(TEXTS)}


def tokens(text: str) -> list[str]:
    """Split a text into words, punctuation marks and line breaks."""
    return re.findall(r"\w+|[^\w ]", text)


def word_vector(text: str) -> list[float]:
    """Return hashed word counts: deterministic, and texts that share words are near."""
    vector = [0.0] * 128
    for word in re.findall(r"\w+", text.casefold()):
        vector[zlib.crc32(word.encode()) % 128] += 1.0
    return vector


class BrokenScorer(OverlapScorer):
    """Raises at every call."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        raise ScoringError("the engine failed")


class WaitingScorer(OverlapScorer):
    """Signals that scoring began, waits until it may end, and keeps its call."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.call: Call | None = None

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.call = call
        self.begun.set()
        self.may_end.wait(30)
        return super().score_pairs(pairs, call=call)


@dataclass
class Loader:
    """Replaces ``open_scorer``: every name loads an ``OverlapScorer``, and the calls are recorded.

    :param names: The names that were loaded, in order.
    :param options: The options of each call.
    :param before: Called with the name before the scorer is created.
    """

    names: list[str] = field(default_factory=list)
    options: list[LoadOptions] = field(default_factory=list)
    before: Callable[[str], object] = lambda name: None

    def __call__(self, model: str, options: LoadOptions) -> OverlapScorer:
        self.names.append(model)
        self.options.append(options)
        self.before(model)
        return OverlapScorer()


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Replace the loading of models by name."""
    loader = Loader()
    monkeypatch.setattr("secondpass.scorers.load.open_scorer", loader)
    return loader


@pytest.fixture(autouse=True)
def separate_models() -> Iterator[None]:
    """Forget the models that other tests loaded."""
    LOADED_MODELS.clear()
    yield
    LOADED_MODELS.clear()


class LangChain:
    """The LangChain integration, behind methods that both integrations have."""

    create = staticmethod(langchain.SecondPassRerank)

    def over(self, scorer: Scorer, settings: dict[str, Any] | None = None, **reranker: Any) -> Any:
        """Return an integration with a live reranker."""
        return self.create(reranker=Reranker(scorer, **reranker), **(settings or {}))

    def items(self, texts: dict[str, str] | None = None) -> list[Any]:
        """Return documents with first-stage scores in their metadata."""
        return [
            Document(text, id=name, metadata={"source": name, "stage1": FIRST_STAGE.get(name, 0.0)})
            for name, text in (texts or TEXTS).items()
        ]

    def run(self, component: Any, items: Iterable[Any] | None = None, query: str = QUESTION) -> list[Any]:
        """Call the component synchronously."""
        return list(component.compress_documents(self.items() if items is None else items, query))

    async def arun(self, component: Any, items: Iterable[Any] | None = None, query: str = QUESTION) -> list[Any]:
        """Call the component asynchronously."""
        return list(await component.acompress_documents(self.items() if items is None else items, query))

    def ids(self, results: Sequence[Any]) -> list[str | None]:
        """Return the results' ids."""
        return [result.id for result in results]

    def scores(self, results: Sequence[Any]) -> list[float | None]:
        """Return the results' relevance scores."""
        return [result.metadata["relevance_score"] for result in results]

    def entries(self, results: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the results' records."""
        return [result.metadata["secondpass"] for result in results]


class LlamaIndex(LangChain):
    """The LlamaIndex integration, behind the same methods."""

    create = staticmethod(llama_index.SecondPassRerank)

    def items(self, texts: dict[str, str] | None = None) -> list[Any]:
        """Return nodes with first-stage scores."""
        return [
            NodeWithScore(node=TextNode(text=text, id_=name), score=FIRST_STAGE.get(name, 0.0))
            for name, text in (texts or TEXTS).items()
        ]

    def run(self, component: Any, items: Iterable[Any] | None = None, query: str = QUESTION) -> list[Any]:
        return list(component.postprocess_nodes(self.items() if items is None else items, query_str=query))

    async def arun(self, component: Any, items: Iterable[Any] | None = None, query: str = QUESTION) -> list[Any]:
        return list(await component.apostprocess_nodes(self.items() if items is None else items, query_str=query))

    def ids(self, results: Sequence[Any]) -> list[str | None]:
        return [result.node.node_id for result in results]

    def scores(self, results: Sequence[Any]) -> list[float | None]:
        return [result.score for result in results]

    def entries(self, results: Sequence[Any]) -> list[dict[str, Any]]:
        return [result.node.metadata["secondpass"] for result in results]


@pytest.fixture(params=[LangChain(), LlamaIndex()], ids=["langchain", "llama_index"])
def integration(request: pytest.FixtureRequest) -> LangChain:
    """Return each integration in turn."""
    adapter: LangChain = request.param
    return adapter

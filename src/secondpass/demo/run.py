"""The demo's road: weights, index, and for each question search, rerank and select."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from secondpass.demo.corpus import python_reference
from secondpass.demo.fetch import cache_folder, fetch_bi_encoder
from secondpass.errors import InputError, require
from secondpass.ranking import Ranking
from secondpass.reranker import Reranker
from secondpass.scores import Stage
from secondpass.scoring.registry import load_scorer
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

if TYPE_CHECKING:
    from secondpass.demo.index import BiEncoder, PassageIndex, Report

QUESTIONS = (
    "which methods does an object need to work in a with statement?",
    "what happens to a default argument that is a list, when the function is called twice?",
    "what does the asterisk in a function call mean?",
    "how do I declare that a function changes a global variable?",
    "what happens when an exception is raised inside a finally block?",
)
"""What is asked where the user asks nothing; the language reference answers each of them."""

CANDIDATES = 100
SELECTION = Selection(budget=ContextBudget(max_tokens=1500), min_probability=0.01)


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's second pass.

    :param ranking: What was kept and dropped.
    :param stages: Every stage from the question on, the first stage's included.
    """

    ranking: Ranking
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class DemoRun:
    """All that a demo did.

    :param setup: The stages before the first question.
    :param answers: One for each question.
    """

    setup: tuple[Stage, ...]
    answers: tuple[Answer, ...]


class View(Protocol):
    """Who watches the demo."""

    def step(self, name: str) -> "AbstractContextManager[Report]":
        """Announce a step that may be long; what it gives is told how far the step is."""
        ...

    def ready(self, setup: tuple[Stage, ...]) -> None:
        """Show what was done before the first question."""
        ...

    def answered(self, answer: Answer) -> None:
        """Show one question's outcome."""
        ...


@dataclass(frozen=True, slots=True)
class _Road:
    """What answers questions."""

    embedder: "BiEncoder"
    index: "PassageIndex"
    reranker: Reranker

    def ask(self, question: str) -> Answer:
        watch = _Stopwatch()
        vector = self.embedder.embed_query(question)
        embedding = watch.lap("embed")
        candidates = self.index.search(vector, CANDIDATES)
        searching = watch.lap("search", candidates=len(candidates))
        ranking = self.reranker.rerank(question, candidates)
        return Answer(ranking, (embedding, searching, *ranking.stages))


class _Stopwatch:
    """Makes a stage of the time since the last one."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self, name: str, **facts: object) -> Stage:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return Stage(name, seconds, facts)


def run_demo(question: str | None, view: View) -> DemoRun:
    """Fetch what is missing, then answer the question, or the demo's own.

    :param question: The user's question; None asks the demo's.
    :param view: Told of each step and each answer.
    :raises MissingExtra: If the vector store isn't installed.
    :raises ModelNotFound: If the weights can't be fetched.
    :raises InputError: If the question is empty.
    """
    if question is not None and not question.strip():
        raise InputError("the question must hold words, and it is empty: leave it out, and the demo asks its own")
    require("secondpass demo", "demo", "chromadb")
    road, setup = _prepare(cache_folder(), view)
    view.ready(setup)
    answers = []
    questions = QUESTIONS if question is None else (question,)
    for number, asked in enumerate(questions, start=1):
        with view.step(f"question {number} of {len(questions)}: reading {CANDIDATES} candidates"):
            answer = road.ask(asked)
        view.answered(answer)
        answers.append(answer)
    return DemoRun(setup, tuple(answers))


def _prepare(cache: Path, view: View) -> tuple[_Road, tuple[Stage, ...]]:
    """Get weights, models and index, and say how long each took."""
    watch = _Stopwatch()
    with view.step("getting the bi-encoder"):
        folder = fetch_bi_encoder(cache)
    fetching = watch.lap("fetch")
    with view.step("loading the models"):
        from secondpass.demo.index import (
            BiEncoder,
            PassageIndex,
        )  # imports Chroma: part of what the user waits for here

        embedder = BiEncoder(folder)
        scorer = load_scorer("small")
        scorer.warmup()
    loading = watch.lap("load")
    passages = python_reference()
    with view.step(f"embedding {len(passages)} passages of Python's language reference") as report:
        index = PassageIndex(cache / "index", passages, embedder, report)
    indexing = watch.lap("index", passages=len(passages), reused=index.reused)
    return _Road(embedder, index, Reranker(scorer, selection=SELECTION)), (fetching, loading, indexing)

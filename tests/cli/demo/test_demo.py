"""``secondpass demo`` on a small corpus: stand-ins for the models, a real Chroma collection, plain output."""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich", reason="the extra cli isn't installed")
pytest.importorskip("chromadb", reason="the extra demo isn't installed")
from rich.console import Console

from secondpass.candidates import Candidate
from secondpass.cli.demo import run
from secondpass.cli.demo.run import run_demo, show
from secondpass.errors import InputError, MissingExtra
from secondpass.reranker import Reranker
from secondpass.samples import bi_encoder
from secondpass.scoring.overlap import OverlapScorer
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

PASSAGES = {"t#1": "a blue whale", "t#2": "a red fox", "t#3": "a red fox", "t#4": "a fox that sleeps"}


class LoadedScorer(OverlapScorer):
    """Stands for the loaded model."""

    def warmup(self) -> None:
        """Do nothing."""


class LetterEncoder:
    """Counts letters in place of the bi-encoder."""

    fingerprint = "letters"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def embed_query(self, question: str) -> Any:
        return np.array([float(question.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"])

    def embed_passages(self, texts: Sequence[str], report: Any) -> Any:
        report(len(texts), len(texts))
        return np.stack([self.embed_query(text) for text in texts])


@pytest.fixture
def small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the demo run on four passages with stand-ins for both models; return the models that it loads."""
    models: list[str] = []
    monkeypatch.setenv("SECONDPASS_CACHE", str(tmp_path))
    monkeypatch.setattr(run, "fetch_bi_encoder", lambda cache, _report: cache)
    monkeypatch.setattr(run, "python_reference", lambda: PASSAGES)
    monkeypatch.setattr(run, "load_scorer", lambda model: models.append(model) or LoadedScorer())
    monkeypatch.setattr(bi_encoder, "BiEncoder", LetterEncoder)
    return models


def printed(question: str | None) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    run_demo(question, Console(file=out, width=100), Console(file=err, width=100))
    return out.getvalue(), err.getvalue()


def shown(*, deadline_ms: float | None = None, budget: int = 20) -> str:
    texts = ["a blue [bold]whale[/bold]", "a red fox", "a red fox", "a fox that is red and sleeps all day long"]
    candidates = [Candidate(text, id=f"t#{rank}", rank=rank) for rank, text in enumerate(texts, start=1)]
    selection = Selection(budget=ContextBudget(budget), min_probability=0.1)
    ranking = Reranker(OverlapScorer(), selection=selection, deadline_ms=deadline_ms).rerank("red fox", candidates)
    out = io.StringIO()
    show(Console(file=out, width=100), ranking, [(stage.name, stage.seconds) for stage in ranking.stages])
    return out.getvalue()


def test_question_is_answered_from_the_index_by_the_bundled_model(small_demo: list[str]) -> None:
    """A question goes through search, reranking and selection; each stage's time is printed."""
    out, err = printed("red fox")
    assert small_demo == ["small"]
    assert "4 passages of Python's language reference in Chroma, embedded now" in out
    assert "Q: red fox\nkept 2, " in out
    assert "1 duplicate" in out
    for stage in ("fetch", "load", "index", "embed", "search", "score", "select"):
        assert f"{stage} " in out
    assert err == "embedding 4 passages ...\n"


@pytest.mark.usefixtures("small_demo")
def test_second_run_reuses_the_index_and_prints_no_progress() -> None:
    """What an earlier run embedded is used again, and steps without a report aren't announced."""
    printed("red fox")
    out, err = printed("red fox")
    assert "in the index of an earlier run" in out
    assert err == ""


@pytest.mark.usefixtures("small_demo")
def test_without_a_question_the_demo_asks_its_own() -> None:
    """The demo asks its own five questions, in their order."""
    out, _ = printed(None)
    assert [line.removeprefix("Q: ") for line in out.splitlines() if line.startswith("Q: ")] == list(run.QUESTIONS)
    assert len(set(run.QUESTIONS)) == 5


def test_answer_is_shown_within_100_columns_as_plain_text() -> None:
    """A piped answer has no escapes, fits 100 columns, and shows movement, reasons, counter and times."""
    text = shown()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    counter = "of 20 tokens (estimate, on the safe side)"
    for part in ("Q: red fox", "kept 2", "▲1", counter, "1 duplicate", "time: score"):
        assert part in text
    assert "duplicate of t#2" in text
    assert "1 below threshold" in text


def test_markup_in_a_text_is_shown_as_it_is() -> None:
    """Square brackets in a candidate are text, never markup."""
    assert "[bold]whale[/bold]" in shown()


def test_degraded_ranking_is_said_to_be_one() -> None:
    """A ranking in the first stage's order is marked, and missing figures are dashes."""
    text = shown(deadline_ms=0)
    assert "DEGRADED, deadline" in text
    assert " - " in text


def test_nothing_kept_is_shown_without_a_table() -> None:
    """A question for which nothing is kept still shows what was dropped."""
    text = shown(budget=0)
    assert "kept 0, 0 of 0 tokens" in text
    assert "over budget" in text


def test_empty_question_is_refused_before_any_work() -> None:
    """An empty question is an error that says what to do."""
    with pytest.raises(InputError, match="leave it out"):
        printed("  ")


@pytest.mark.parametrize("package", ["chromadb", "platformdirs"])
def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without the vector store or the cache folder's library, the error prints the exact install line."""
    monkeypatch.delenv("SECONDPASS_CACHE", raising=False)
    monkeypatch.setattr("secondpass.errors.find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(MissingExtra, match=rf'{package}.*pip install "secondpass\[demo\]"'):
        printed(None)

"""The demo's road and its view: real models where their folder is given, and small stand-ins elsewhere."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

pytest.importorskip("rich", reason="the extra cli isn't installed")
from rich.console import Console

from secondpass.candidates import Candidate
from secondpass.demo import run
from secondpass.demo.index import Report
from secondpass.demo.run import Answer, run_demo
from secondpass.demo.view import RichView
from secondpass.errors import InputError, MissingExtra
from secondpass.reranker import Reranker
from secondpass.scores import Stage
from secondpass.scoring.overlap import OverlapScorer
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection


class SilentView:
    """Watches and shows nothing."""

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        yield lambda done, total: None

    def ready(self, setup: tuple[Stage, ...]) -> None:
        """Show nothing."""

    def answered(self, answer: Answer) -> None:
        """Show nothing."""


def shown(*, question: str = "red fox", deadline_ms: float | None = None, budget: int = 20) -> str:
    texts = ["a blue [bold]whale[/bold]", "a red fox", "a red fox", "a fox that is red and sleeps all day long"]
    candidates = [Candidate(text, id=f"t#{rank}", rank=rank) for rank, text in enumerate(texts, start=1)]
    selection = Selection(budget=ContextBudget(budget), min_probability=0.1)
    ranking = Reranker(OverlapScorer(), selection=selection, deadline_ms=deadline_ms).rerank(question, candidates)
    out = io.StringIO()
    RichView(Console(file=out, width=100), Console(file=io.StringIO())).answered(Answer(ranking, ranking.stages))
    return out.getvalue()


def test_answer_is_shown_within_100_columns_as_plain_text() -> None:
    """A piped answer has no escapes, fits 100 columns, and tells movement, reasons, counter and times."""
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


def test_nothing_kept_is_shown_without_a_table() -> None:
    """A question for which nothing is kept still tells what was dropped."""
    text = shown(budget=0)
    assert "kept 0, 0 of 0 tokens" in text
    assert "over budget" in text


def test_progress_is_one_plain_line_where_nobody_watches() -> None:
    """Without a terminal a long step is announced once, and a step that reports nothing isn't."""
    err = io.StringIO()
    view = RichView(Console(file=io.StringIO()), Console(file=err, width=100))
    with view.step("embedding") as report:
        report(1, 2)
        report(2, 2)
    with view.step("quick"):
        pass
    assert err.getvalue() == "embedding ...\n"


def test_empty_question_is_refused_before_any_work() -> None:
    """An empty question is an error that says what to do."""
    with pytest.raises(InputError, match="leave it out"):
        run_demo("  ", SilentView())


@pytest.mark.parametrize("package", ["chromadb", "platformdirs"])
def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without the vector store or the cache folder's library, the error prints the exact install line."""
    monkeypatch.delenv("SECONDPASS_CACHE", raising=False)
    monkeypatch.setattr("secondpass.errors.find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(MissingExtra, match=rf'{package}.*pip install "secondpass\[demo\]"'):
        run_demo(None, SilentView())


def test_demo_asks_handful_of_questions() -> None:
    """The demo's own questions are a handful, all different."""
    assert len(set(run.QUESTIONS)) == len(run.QUESTIONS) == 5

"""A ranking in a terminal, through rich, and in IPython."""

import io
from dataclasses import replace

import pytest

pytest.importorskip("rich", reason="the extra cli isn't installed")
from rich.console import Console
from worlds import Failing, Scripted

from secondpass import Candidate, OverlapScorer, Ranking, Reranker, Selection, Windowed, Windows
from secondpass.report.terminal import RankingView


def printed(ranking: Ranking, width: int | None, *, terminal: bool = True) -> str:
    """Print a ranking as rich does on a terminal of this width."""
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, color_system=None).print(ranking)
    return stream.getvalue()


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_lines_are_no_longer_than_the_terminal_is_wide(ranking: Ranking, width: int) -> None:
    """In terminals of 30 to 200 columns every candidate and reason is there, and no line is longer."""
    text = printed(ranking, width)
    assert max(map(len, text.splitlines())) <= width
    counted, reasons = text.split("dropped 2: ")[1].split("\n", 1)
    for reason in ("over", "duplicate"):
        assert f"1 {reason}" in counted
        assert reasons.count(reason) == 1


def test_a_narrow_terminal_has_fewer_columns(ranking: Ranking) -> None:
    """Scores and tokens are shown from 72 columns on."""
    assert "tokens  text" in printed(ranking, 72)
    assert "tokens  text" not in printed(ranking, 71)


def test_no_terminal_at_all_is_plain_text(ranking: Ranking) -> None:
    """In a file there are no escape sequences, and the same lines."""
    text = printed(ranking, None, terminal=False)
    assert "\x1b" not in text
    assert "kept 1 of 3, 4 tokens" in text


def test_texts_are_neither_markup_nor_escape_sequences() -> None:
    """Rich's markup in texts, queries and reasons is printed as it stands, and control characters are replaced."""
    bad = "[red]fox[/nothing] \x1b[31m\x07 :smile:"
    text = printed(Reranker(OverlapScorer(), selection=Selection(duplicates="keep")).rerank(bad, [bad, "dog"]), 100)
    assert text.count("[red]fox[/nothing] \ufffd[31m\ufffd :smile:") == 2
    assert not {"\x1b", "\x07"} & set(text)


def test_best_windows_and_degraded_passes_are_shown() -> None:
    """A candidate scored in windows has a line with the best one; a degraded pass has its cause."""
    text = "The owl sat. " * 6 + "The fox ran. "
    windowed = Reranker(Windowed(OverlapScorer(), Windows(12, overlap=0))).rerank("fox", [text])
    assert "The owl sat. The owl sat. The fox ran.\n" in printed(windowed, 100).replace(" \n", "\n").replace("  ", "")
    assert "degraded, scorer failed: the GPU is gone" in printed(Reranker(Failing()).rerank("fox", ["fox"]), 100)


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_long_lists_are_cut_and_counted(count: int) -> None:
    """Of ten thousand candidates 50 kept and 50 dropped ones are listed, by rich and by IPython."""
    from IPython.lib.pretty import pretty

    selection = Selection(top_n=5000)
    ranking = Reranker(Scripted({}), selection=selection).rerank("query", [f"text {number}" for number in range(count)])
    for text in (printed(ranking, 80), pretty(ranking)):
        assert len(text.splitlines()) < 210
        assert text.count("... and 4,950 more") == (2 if count else 0) * (count == 10_000)
    assert len(ranking.report().splitlines()) >= count


def test_answerable_and_a_fall_of_the_first_stages_best_are_shown() -> None:
    """What the text report says of the whole ranking stands in a terminal, too."""
    texts = [f"text {number}" for number in range(12)]
    ranking = Reranker(Scripted({text: float(number) for number, text in enumerate(texts)})).rerank("q", texts)
    text = printed(replace(ranking, answerable=0.25), 100)
    assert "kept 12 of 12, answerable 0.25" in text
    assert "best fell to rank 12" in text


def test_the_best_of_each_reason_have_their_ids() -> None:
    """A short report counts the reasons, and shows the first dropped candidates of each."""
    texts = [*["red fox"] * 4, *["a dog"] * 4]
    candidates = [Candidate(text, id=f"id-{number}") for number, text in enumerate(texts)]
    selection = Selection(min_probability=0.1)
    ranking = Reranker(OverlapScorer(), selection=selection).rerank("red fox", candidates)
    stream = io.StringIO()
    Console(file=stream, width=100).print(RankingView(ranking, per_reason=1))
    text = stream.getvalue()
    assert "dropped 7: 4 below threshold, 3 duplicate" in text
    assert [line.split()[-3] for line in text.splitlines() if "id-" in line] == ["id-0", "id-1", "id-4"]

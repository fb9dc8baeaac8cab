"""A ranking as plain text."""

from dataclasses import fields, replace
from typing import Any

from worlds import Failing

from secondpass import Candidate, OverlapScorer, Ranking, Reranker, Windowed, Windows
from secondpass.errors import ScoringError
from secondpass.ranking import Dropped, Ranked, Reason
from secondpass.records import Note, NoteKind, Stage


def test_report_has_every_candidate(ranking: Ranking) -> None:
    """The report has the query, each candidate with its figures, and the reason of each dropped one."""
    report = ranking.report()
    assert "query: red fox\nkept 1, 4 tokens\n" in report
    assert "     1    2  1.000    1.00      4  the red fox runs" in report
    assert "the old dog  [over budget: " in report


def test_report_has_every_stage(ranking: Ranking) -> None:
    """The last lines are the stages with their milliseconds and facts."""
    score, select = ranking.report().splitlines()[-2:]
    assert score.startswith("score: ")
    assert "pairs 3" in score
    assert "policy fill, tokens 4, max_tokens 4, counter count_words, exact False" in select


def test_report_of_a_degraded_ranking_says_so() -> None:
    """A degraded ranking is marked with its cause, and missing figures are dashes."""
    report = Reranker(Failing()).rerank("red fox", ["the red fox runs"]).report()
    assert "DEGRADED, scorer failed: the GPU is gone" in report
    assert "     1    1      -       -      -  the red fox runs" in report


def test_long_text_takes_one_line() -> None:
    """Line breaks become blanks, and a text longer than the column ends in an ellipsis."""
    report = Reranker(OverlapScorer()).rerank("red fox", ["red\nfox " * 50]).report()
    assert "  red fox red fox" in report
    assert "…\n" in report


def test_the_best_window_is_shown() -> None:
    """A candidate that was scored in windows has a line with the text and the place of the best one."""
    text = "The owl sat. " * 6 + "The fox ran. "
    report = Reranker(Windowed(OverlapScorer(), Windows(12, overlap=0))).rerank("fox", [text]).report()
    assert "best window, characters 52 to 91: The owl sat. The owl sat. The fox ran." in report


def test_no_control_character_reaches_the_report() -> None:
    """Whatever holds an escape sequence (texts, ids, reasons, a server's message, facts), the report shows none."""
    odd = "\x1b[2J\x9b31m\r\n\u202e"
    error = ScoringError(f"the server said {odd}forged line")
    stage = Stage("score\x1b", 0.1, {f"fact{odd}": odd})
    ranking = Reranker(Failing(error)).rerank(f"q{odd}", [Candidate(f"text{odd}", id=odd, source=odd)])
    noted = replace(ranking, stages=(stage,), notes=(Note(NoteKind.QUERY_CUT, odd),))
    select = Dropped(*_fields(noted.kept[0]), Reason.PRUNED, detail=odd)
    report = replace(noted, dropped=(select,)).report()
    assert not set("\x1b\x9b\r\u202e") & set(report)
    assert not any(line.startswith("forged") for line in report.splitlines())


def _fields(item: Ranked) -> tuple[Any, ...]:
    return tuple(getattr(item, field.name) for field in fields(Ranked))

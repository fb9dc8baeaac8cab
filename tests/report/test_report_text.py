"""A ranking as plain text."""

from worlds import Failing

from secondpass import OverlapScorer, Ranking, Reranker, Windowed, Windows


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

"""Warnings that can come with every call."""

import pytest

from secondpass.logs import RepeatedWarnings, logger


def test_a_kind_of_warning_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand warnings of one kind are one line, and another kind is another line."""
    warnings = RepeatedWarnings()
    for _ in range(1000):
        warnings.warn("full", "the queue is full: %d", 5)
    warnings.warn("late", "too late")
    assert [record.getMessage() for record in caplog.records] == ["the queue is full: 5", "too late"]


def test_the_next_line_counts_those_in_between(caplog: pytest.LogCaptureFixture) -> None:
    """After the time a warning is logged again, with the number of those that were not."""
    warnings = RepeatedWarnings(seconds=3600)
    for _ in range(3):
        warnings.warn("full", "the queue is full")
    warnings._kinds["full"] = (float("-inf"), 2)
    warnings.warn("full", "the queue is full")
    assert caplog.records[-1].getMessage() == "the queue is full (2 more like this since the last one)"


def test_control_characters_never_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A server's message can't move the cursor, colour the terminal, or forge a line; tracebacks can't either."""
    odd = ValueError("\x1b]0;title\x07")
    logger.error("the server said %s and %d", "\x1b[31mno\nERROR forged", 5, exc_info=odd)
    (record,) = caplog.records
    assert record.getMessage() == "the server said \N{REPLACEMENT CHARACTER}[31mno ERROR forged and 5"
    assert "\x1b" not in caplog.text
    assert "ValueError" in caplog.text


def test_usual_records_keep_their_arguments(caplog: pytest.LogCaptureFixture) -> None:
    """Services that group records by their message still can."""
    logger.warning("%d candidates", 5)
    (record,) = caplog.records
    assert (record.msg, record.args) == ("%d candidates", (5,))

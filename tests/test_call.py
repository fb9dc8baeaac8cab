"""Deadline and cancellation of one call."""

import math

import pytest

from secondpass import Call
from secondpass.errors import ConfigurationError
from secondpass.records import UnscoredReason


def test_call_without_deadline_goes_on() -> None:
    """A call with neither a deadline nor a cancellation has no reason to stop and no limit of time."""
    assert Call().stop_reason() is None
    assert Call().remaining is None


def test_deadline_of_zero_has_passed() -> None:
    """A call with 0 ms has passed its deadline at once, and one with an hour hasn't."""
    assert Call(deadline_ms=0).stop_reason() is UnscoredReason.DEADLINE
    assert Call(deadline_ms=3_600_000).stop_reason() is None


def test_remaining_time_is_in_seconds_and_never_negative() -> None:
    """``remaining`` counts down in seconds, to 0."""
    assert 3_500 < (Call(deadline_ms=3_600_000).remaining or 0) <= 3_600
    assert Call(deadline_ms=0).remaining == 0.0


def test_cancellation_counts_before_the_deadline() -> None:
    """A cancelled call stops as cancelled, also after its deadline."""
    call = Call(deadline_ms=0)
    call.cancel()
    assert call.stop_reason() is UnscoredReason.CANCELLED


@pytest.mark.parametrize("deadline_ms", [-1, -0.001, math.nan], ids=str)
def test_invalid_deadlines_are_refused(deadline_ms: float) -> None:
    """A negative deadline and NaN are configuration errors that name the value."""
    with pytest.raises(ConfigurationError, match=f"deadline_ms must be .*got {deadline_ms}"):
        Call(deadline_ms)

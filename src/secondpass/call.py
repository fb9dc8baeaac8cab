"""Deadline and cancellation of one call."""

import math
import threading
import time
from numbers import Real

from secondpass.errors import ConfigurationError, checked
from secondpass.scores import UnscoredReason

_POLL_SECONDS = 0.1
"""How long a cancelled caller goes on waiting for an engine that hangs, at most."""


@checked
class Call:
    """Deadline and cancellation of one call. Safe across threads.

    :param deadline_ms: Milliseconds from now after which the caller no longer waits for scores; None for no limit.
    :raises ConfigurationError: If ``deadline_ms`` is no number, negative or NaN.
    """

    __slots__ = ("_cancelled", "deadline")

    def __init__(self, deadline_ms: float | None = None) -> None:
        check_deadline(deadline_ms)
        milliseconds = math.inf if deadline_ms is None else deadline_ms
        self.deadline = time.monotonic() + milliseconds / 1000 if math.isfinite(milliseconds) else None
        self._cancelled = threading.Event()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def wait_seconds(self) -> float:
        """Seconds to wait for a result before ``stop_reason`` is asked again."""
        remaining = self.remaining
        return _POLL_SECONDS if remaining is None else min(_POLL_SECONDS, remaining)

    def cancel(self) -> None:
        """Cancel the call: scoring stops after the batch in progress."""
        self._cancelled.set()

    def stop_reason(self) -> UnscoredReason | None:
        """Return why scoring should stop, or None while it should go on."""
        if self._cancelled.is_set():
            return UnscoredReason.CANCELLED
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return UnscoredReason.DEADLINE
        return None


def as_call(call: Call | None, deadline_ms: float | None = None) -> Call:
    """Return the call that was given, or one with a deadline of its own.

    :raises ConfigurationError: If it is something else.
    """
    if call is not None and not isinstance(call, Call):
        raise ConfigurationError(f"call must be a Call, such as Call(deadline_ms=200), got {call!r:.80}")
    return Call(deadline_ms) if call is None else call


def check_deadline(deadline_ms: float | None) -> None:
    """Check a deadline in milliseconds.

    :raises ConfigurationError: If it is no number, negative or NaN.
    """
    number = isinstance(deadline_ms, Real) and not isinstance(deadline_ms, bool)
    if deadline_ms is not None and not (number and deadline_ms >= 0):
        raise ConfigurationError(
            f"deadline_ms must be 0 or more milliseconds, or None for no limit, got {deadline_ms!r}"
        )

"""Deadline and cancellation of one call."""

import math
import threading
import time

from secondpass.errors import ConfigurationError
from secondpass.scores import UnscoredReason


class Call:
    """Deadline and cancellation of one call. Safe across threads.

    :param deadline_ms: Milliseconds from now after which the caller no longer waits for scores; None for no limit.
    :raises ConfigurationError: If ``deadline_ms`` is negative or NaN.
    """

    __slots__ = ("_cancelled", "deadline")

    def __init__(self, deadline_ms: float | None = None) -> None:
        check_deadline(deadline_ms)
        self.deadline = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000
        self._cancelled = threading.Event()

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

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


def check_deadline(deadline_ms: float | None) -> None:
    """Check a deadline in milliseconds.

    :raises ConfigurationError: If it is negative or NaN.
    """
    if deadline_ms is not None and (math.isnan(deadline_ms) or deadline_ms < 0):
        raise ConfigurationError(
            f"deadline_ms must be 0 or more milliseconds, or None for no limit, got {deadline_ms!r}"
        )

"""Warnings that can come with every call, logged once in a while instead of a thousand times."""

import logging
import time
from collections.abc import Hashable

from secondpass.processes import ForkLock

logger = logging.getLogger("secondpass")


class RepeatedWarnings:
    """Logs a warning of each kind at once, and further ones of it at most once in so many seconds, with their number.

    :param seconds: The time in which a kind is logged once.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._lock = ForkLock()
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def warn(self, kind: Hashable, message: str, *args: object) -> None:
        """Log a warning, or count it.

        :param kind: Warnings of one kind are counted together.
        :param message: In the form of ``logging``; without texts of users.
        :param args: Its arguments.
        """
        now = time.monotonic()
        with self._lock:
            since, more = self._kinds.get(kind, (-self._seconds, 0))
            quiet = now - since < self._seconds
            self._kinds[kind] = (since, more + 1) if quiet else (now, 0)
        if not quiet:
            text = f"{message} ({more} more like this since the last one)" if more else message
            logger.warning(text, *args)

    def clear(self) -> None:
        """Forget what was logged."""
        with self._lock:
            self._kinds.clear()


REPEATED_WARNINGS = RepeatedWarnings()

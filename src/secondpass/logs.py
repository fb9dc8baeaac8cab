"""The log: without control characters, and warnings that can come with every call once in a while."""

import logging
import time
from collections.abc import Hashable

from secondpass.processes import ForkLock
from secondpass.text import printable

logger = logging.getLogger("secondpass")


def _clean(record: logging.LogRecord) -> bool:
    """Replace control characters in a record, which names, servers' messages and tracebacks may have; keep it."""
    message = record.getMessage()
    if printable(message, line=True) != message:
        record.msg, record.args = printable(message, line=True), ()
    if record.exc_info:
        traceback = logging.Formatter().formatException(record.exc_info)
        record.exc_text = printable(traceback) if printable(traceback) != traceback else record.exc_text
    return True


logger.addFilter(_clean)


class RepeatedWarnings:
    """Logs a warning of each kind at once, and further ones of it once in a period, with their number.

    :param seconds: The time in which a kind is logged once.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._lock = ForkLock()
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def warn(self, kind: Hashable, message: str, *args: object, level: int = logging.WARNING) -> None:
        """Log a warning, or count it.

        :param kind: Warnings of one kind are counted together.
        :param message: In the form of ``logging``; without texts of users.
        :param args: Its arguments.
        :param level: The level; what is no reason to act is only information.
        """
        now = time.monotonic()
        with self._lock:
            since, more = self._kinds.get(kind, (-self._seconds, 0))
            quiet = now - since < self._seconds
            self._kinds[kind] = (since, more + 1) if quiet else (now, 0)
        if not quiet:
            text = f"{message} ({more} more like this since the last one)" if more else message
            logger.log(level, text, *args)

    def clear(self) -> None:
        """Forget what was logged."""
        with self._lock:
            self._kinds.clear()


REPEATED_WARNINGS = RepeatedWarnings()

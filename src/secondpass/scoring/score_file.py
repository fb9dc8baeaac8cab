"""Scores on disk: one SQLite file, shared by processes, that may be lost but is never trusted blindly."""

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from secondpass.errors import ConfigurationError
from secondpass.scores import Score, Window

T = TypeVar("T")

_VERSION = 1  # of the table; another one is made anew
_BUSY_MS = 250  # how long another process is waited for; then the scores count as unknown
_MOST_VARIABLES = 500  # of one statement
_CHECK_BYTES = 8

_logger = logging.getLogger("secondpass")


class ScoreFile:
    """Keeps scores by key in a SQLite file. Safe across threads and processes, which may be killed at any moment.

    Every row has a checksum. A file that SQLite can't read is renamed, and another one is begun; while a file can't be
    read or written (locked, disk full, read-only), nothing is found and nothing kept.

    :param path: The file; folders are made.
    :param max_entries: How many scores are kept, the last written.
    :raises ConfigurationError: If the folder can't be made.
    """

    def __init__(self, path: Path, max_entries: int) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the folder of the score cache can't be made: {error}") from error
        self.path = path
        self.failures = 0
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._connections: dict[int, sqlite3.Connection] = {}  # of a forked process its own; the parent's stays unused

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """Return the scores that are there."""
        found: dict[bytes, Score] = {}
        for start in range(0, len(keys), _MOST_VARIABLES):
            rows = self._try(partial(_select, keys[start : start + _MOST_VARIABLES]))
            scores = ((key, _unpacked(key, value)) for key, value in rows or ())
            found |= {key: score for key, score in scores if score is not None}
        return found

    def write(self, scores: Mapping[bytes, Score]) -> None:
        """Keep scores; those beyond ``max_entries`` push out the oldest."""
        rows = [(key, _packed(key, score)) for key, score in scores.items()]
        if rows:
            self._try(partial(_insert, rows, self._max_entries))

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._close()

    def _try(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._lock:
            try:
                return action(self._open())
            except sqlite3.OperationalError as error:  # locked, full, read-only, not to be opened
                self._failed(error)
            except sqlite3.DatabaseError as error:  # damaged, or no database
                self._failed(error)
                self._set_aside()
            return None

    def _open(self) -> sqlite3.Connection:
        link = self._connections.get(os.getpid())
        if link is None:
            link = sqlite3.connect(self.path, timeout=_BUSY_MS / 1000, check_same_thread=False)
            try:
                _prepare(link)
            except sqlite3.Error:
                link.close()
                raise
            self._connections[os.getpid()] = link
        return link

    def _close(self) -> None:
        link = self._connections.pop(os.getpid(), None)
        if link is not None:
            with suppress(sqlite3.Error):
                link.close()

    def _failed(self, error: sqlite3.Error) -> None:
        self.failures += 1
        if self.failures == 1:
            _logger.warning("the score cache can't be used for now (%s): scores are computed", error)

    def _set_aside(self) -> None:
        """Rename a damaged file, unless another process has done so: then the file at the path is a new one."""
        self._close()
        with suppress(OSError):
            if _is_sound(self.path):
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{os.getpid()}")
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            _logger.warning("the score cache was damaged: it is now %s, and another one is begun", aside.name)


def _prepare(link: sqlite3.Connection) -> None:
    link.execute("PRAGMA journal_mode = WAL")
    link.execute("PRAGMA synchronous = NORMAL")
    (version,) = link.execute("PRAGMA user_version").fetchone()
    with link:
        if version != _VERSION:
            link.execute("DROP TABLE IF EXISTS scores")
            link.execute(f"PRAGMA user_version = {_VERSION}")
        link.execute(
            "CREATE TABLE IF NOT EXISTS scores "
            "(id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)"
        )


def _select(keys: Sequence[bytes], link: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
    marks = ",".join("?" * len(keys))
    return link.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", keys).fetchall()  # noqa: S608  # marks


def _insert(rows: Sequence[tuple[bytes, bytes]], max_entries: int, link: sqlite3.Connection) -> None:
    with link:
        link.executemany("INSERT OR REPLACE INTO scores (key, value) VALUES (?, ?)", rows)
        link.execute("DELETE FROM scores WHERE id <= (SELECT max(id) FROM scores) - ?", [max_entries])


def _is_sound(path: Path) -> bool:
    try:
        link = sqlite3.connect(path, timeout=_BUSY_MS / 1000)
        try:
            return bool(link.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        finally:
            link.close()
    except sqlite3.Error:
        return False


def _packed(key: bytes, score: Score) -> bytes:
    windows = [(window.start, window.end, window.value, window.probability) for window in score.windows]
    value = json.dumps([score.value, score.truncated, windows]).encode()
    return _check(key, value) + value


def _unpacked(key: bytes, stored: object) -> Score | None:
    """Return a stored score, or None where the checksum doesn't match."""
    if not isinstance(stored, bytes) or stored[:_CHECK_BYTES] != _check(key, stored[_CHECK_BYTES:]):
        return None
    value, truncated, windows = json.loads(stored[_CHECK_BYTES:])
    return Score(value, truncated, tuple(Window(*window) for window in windows))


def _check(key: bytes, value: bytes) -> bytes:
    return blake2b(key + value, digest_size=_CHECK_BYTES).digest()

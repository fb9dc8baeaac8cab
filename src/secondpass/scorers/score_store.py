"""Scores on disk: one SQLite file, shared by processes, that may be lost but is never trusted blindly."""

import json
import logging
import sqlite3
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from secondpass.errors import ConfigurationError
from secondpass.processes import ForkLock, prepare_for_fork
from secondpass.records import Call, Score, Window

T = TypeVar("T")

_logger = logging.getLogger("secondpass")

_BUSY_SECONDS = 0.25  # how long another process's transaction is waited for; then the scores count as unknown
_OPENING_SECONDS = 1.0  # how long other processes that open the file, or set it aside, are waited for
_MOST_KEYS = 500  # of one statement
_APPLICATION = int.from_bytes(b"2nds")  # marks our files; those of version 1 had no mark
_VERSION = 4  # of the table; another one is made anew
_MARKS = ("application_id", "user_version")
_COLUMNS = [("scores", "id", "INTEGER"), ("scores", "key", "BLOB"), ("scores", "value", "BLOB")]
_ALL_COLUMNS = (
    "SELECT entry.name, field.name, field.type FROM sqlite_master AS entry, pragma_table_info(entry.name) AS field "
    "WHERE substr(entry.name, 1, 7) != 'sqlite_' ORDER BY entry.name, field.cid"
)
_CHECK_BYTES = 8


@dataclass(frozen=True, slots=True)
class _Link:
    """An open file.

    :param database: The connection.
    :param file: Device and inode: another file may be at the path since.
    :param close: Closes it, also where the cache is dropped: a connection waits for the garbage collector by itself.
    """

    database: sqlite3.Connection
    file: tuple[int, int] | None
    close: "weakref.finalize[[], ScoreStore]"


class ScoreStore:
    """Keeps scores by key in a SQLite file. Safe across threads, forks and processes, which may be killed at any time.

    Every row has a checksum. A file that SQLite can't read is renamed, and another one is begun; while a file can't be
    read or written (locked, disk full, read-only), nothing is found and nothing kept. A call waits for the file no
    longer than until its deadline. The file is opened and renamed behind the lock of another one, ``{path}.lock``.

    :param path: The file; folders are made.
    :param max_entries: How many scores are kept, the last written.
    :raises ConfigurationError: If the folder can't be made, or the file is another application's database.
    """

    def __init__(self, path: Path, max_entries: int) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the folder of the score cache can't be made: {error}") from error
        self.path = path
        self.failures = 0
        self._max_entries = max_entries
        self._lock = ForkLock(waited=True)
        self._link: _Link | None = None
        prepare_for_fork(self, ScoreStore._close_for_fork)
        with suppress(sqlite3.Error, OSError), self._lock:  # locked or damaged: the first call finds that, too
            if path.exists():
                self._open(Call())

    def read(self, keys: Sequence[bytes], call: Call | None = None) -> dict[bytes, Score]:
        """Return the scores that are there."""
        found: dict[bytes, Score] = {}
        for start in range(0, len(keys), _MOST_KEYS):
            scores = self._try(partial(_select, keys[start : start + _MOST_KEYS]), call)
            if scores is None:
                break
            found |= scores
        return found

    def write(self, scores: Mapping[bytes, Score], call: Call | None = None) -> None:
        """Keep scores; those beyond ``max_entries`` push out the oldest."""
        if scores:
            self._try(partial(_insert, scores, self._max_entries), call)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._close()

    def _close_for_fork(self) -> None:
        """Close the file: a child that uses its parent's connection, or opens the file beside it, loses what it writes.

        SQLite, "How To Corrupt An SQLite Database File", 2.6.
        """
        if self._lock.acquire(0):  # else another thread still uses the file, and the child sees that its lock was held
            self._close()
            self._lock.release()

    def _try(self, action: Callable[[sqlite3.Connection], T], call: Call | None) -> T | None:
        call, lock = call or Call(), self._lock
        while not lock.acquire(timeout=call.wait_seconds):
            if call.stop_reason():
                return None
        try:
            return action(self._open(call))
        except (sqlite3.OperationalError, OSError, ConfigurationError) as error:  # locked, full, read-only, not ours
            self._failed(error)
        except sqlite3.DatabaseError as error:  # damaged, or no database
            self._failed(error)
            self._set_aside(call)
        finally:
            lock.release()
        return None

    def _open(self, call: Call) -> sqlite3.Connection:
        if self._lock.cut:
            raise OSError("the process was forked while another thread used the file")
        if self._link and self._link.file != _file_at(self.path):
            self._close()
        if self._link is None:
            with self._alone(call):
                database = connect(self.path, _at_most(_BUSY_SECONDS, call))
                close = weakref.finalize(self, database.close)
                close.atexit = False  # a daemon thread may be using it
                self._link = _Link(database, _file_at(self.path), close)
        self._link.database.execute(f"PRAGMA busy_timeout = {int(1000 * _at_most(_BUSY_SECONDS, call))}")
        return self._link.database

    def _alone(self, call: Call) -> AbstractContextManager[object]:
        """Return a context in which no other process opens the file or renames it.

        :raises OSError: If that can't be had in time.
        """
        from filelock import FileLock

        lock = FileLock(f"{self.path}.lock")
        return lock.acquire(timeout=_at_most(_OPENING_SECONDS, call), poll_interval=0.005)

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None and not self._lock.cut:
            with suppress(sqlite3.Error):
                link.close()

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            _logger.warning("the score cache can't be used for now (%s): scores are computed", str(error))

    def _set_aside(self, call: Call) -> None:
        """Rename a damaged file, unless another process has done so: then the file at the path is a new one."""
        damaged = self._link.file if self._link else _file_at(self.path)
        with suppress(OSError), self._alone(call):
            self._close()
            if damaged != _file_at(self.path) or is_sound(self.path, _at_most(_BUSY_SECONDS, call)):
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{uuid4().hex}")
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            _logger.warning("the score cache was damaged: it is now %s, and another one is begun", aside.name)


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return device and inode; None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _at_most(seconds: float, call: Call) -> float:
    return seconds if call.remaining is None else min(seconds, call.remaining)


def connect(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """Open a database, and make the table unless it is there.

    :param path: The file.
    :param wait_seconds: How long other connections are waited for.
    :raises ConfigurationError: If the file is another application's database; it isn't changed.
    :raises sqlite3.Error: If it can't be opened.
    """
    database = sqlite3.connect(path, timeout=wait_seconds, check_same_thread=False)
    try:
        _prepare(database, path)
    except (sqlite3.Error, ConfigurationError):
        database.close()
        raise
    return database


def _select(keys: Sequence[bytes], database: sqlite3.Connection) -> dict[bytes, Score]:
    """Return the scores that are there, for at most ``_MOST_KEYS`` keys."""
    marks = ",".join("?" * len(keys))
    rows = database.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", keys)  # noqa: S608  # marks
    scores = ((key, _unpacked(key, value)) for key, value in rows)
    return {key: score for key, score in scores if score is not None}


def _insert(scores: Mapping[bytes, Score], max_entries: int, database: sqlite3.Connection) -> None:
    """Keep scores; those beyond ``max_entries`` push out the oldest."""
    rows = [(key, _packed(key, score)) for key, score in scores.items()]
    with database:
        database.executemany("INSERT OR REPLACE INTO scores (key, value) VALUES (?, ?)", rows)
        database.execute("DELETE FROM scores WHERE id <= (SELECT max(id) FROM scores) - ?", [max_entries])


def is_sound(path: Path, wait_seconds: float) -> bool:
    """Return whether SQLite finds no damage; where it can't look, as in a locked file, none is known."""
    try:
        with closing(sqlite3.connect(path, timeout=wait_seconds)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error as error:
        return error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Make the table, unless it is there; check first whose file it is."""
    application, version = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS)
    if application != _APPLICATION and (application or database.execute(_ALL_COLUMNS).fetchall() not in ([], _COLUMNS)):
        raise ConfigurationError(
            f"the score cache needs a file of its own, but {path} is the SQLite database of another application: "
            "give another path"
        )
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    if (application, version) == (_APPLICATION, _VERSION):
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DROP TABLE IF EXISTS scores")
        database.execute(
            "CREATE TABLE scores (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)"
        )
        for name, value in zip(_MARKS, (_APPLICATION, _VERSION), strict=True):
            database.execute(f"PRAGMA {name} = {value}")


def _packed(key: bytes, score: Score) -> bytes:
    """Return a row's value, with Python's own numbers: a user's scorer may give NumPy's, which JSON doesn't know."""
    windows = [(int(window.start), int(window.end), float(window.value)) for window in score.windows]
    value = json.dumps([float(score.value), int(score.truncated), windows, int(score.query_cut)]).encode()
    return _check(key, value) + value


def _unpacked(key: bytes, stored: object) -> Score | None:
    """Return a stored score, or None where the checksum doesn't match."""
    if not isinstance(stored, bytes) or stored[:_CHECK_BYTES] != _check(key, stored[_CHECK_BYTES:]):
        return None
    value, truncated, windows, query_cut = json.loads(stored[_CHECK_BYTES:])
    return Score(value, truncated, tuple(Window(*window) for window in windows), query_cut=query_cut)


def _check(key: bytes, value: bytes) -> bytes:
    return blake2b(key + value, digest_size=_CHECK_BYTES).digest()

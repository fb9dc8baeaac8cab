"""The table of scores in a SQLite database."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

from secondpass.errors import ConfigurationError
from secondpass.records import Score, Window

MOST_KEYS = 500  # of one statement
_APPLICATION = int.from_bytes(b"2nds")  # marks our files; those of version 1 had no mark
_VERSION = 3  # of the table; another one is made anew
_MARKS = ("application_id", "user_version")
_COLUMNS = [("scores", "id", "INTEGER"), ("scores", "key", "BLOB"), ("scores", "value", "BLOB")]
_ALL_COLUMNS = (
    "SELECT entry.name, field.name, field.type FROM sqlite_master AS entry, pragma_table_info(entry.name) AS field "
    "WHERE substr(entry.name, 1, 7) != 'sqlite_' ORDER BY entry.name, field.cid"
)
_CHECK_BYTES = 8


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


def select(keys: Sequence[bytes], database: sqlite3.Connection) -> dict[bytes, Score]:
    """Return the scores that are there, for at most ``MOST_KEYS`` keys."""
    marks = ",".join("?" * len(keys))
    rows = database.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", keys)  # noqa: S608  # marks
    scores = ((key, _unpacked(key, value)) for key, value in rows)
    return {key: score for key, score in scores if score is not None}


def insert(scores: Mapping[bytes, Score], max_entries: int, database: sqlite3.Connection) -> None:
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
    windows = [
        (int(window.start), int(window.end), float(window.value), _number(window.probability))
        for window in score.windows
    ]
    value = json.dumps([float(score.value), int(score.truncated), windows, int(score.query_cut)]).encode()
    return _check(key, value) + value


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _unpacked(key: bytes, stored: object) -> Score | None:
    """Return a stored score, or None where the checksum doesn't match."""
    if not isinstance(stored, bytes) or stored[:_CHECK_BYTES] != _check(key, stored[_CHECK_BYTES:]):
        return None
    value, truncated, windows, query_cut = json.loads(stored[_CHECK_BYTES:])
    return Score(value, truncated, tuple(Window(*window) for window in windows), query_cut=query_cut)


def _check(key: bytes, value: bytes) -> bytes:
    return blake2b(key + value, digest_size=_CHECK_BYTES).digest()

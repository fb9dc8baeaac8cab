"""The file of an audit log: one SQLite table, shared by processes, with bounds of size and age."""

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from secondpass.errors import ConfigurationError

APPLICATION_ID = 0x2DA55A0D  # marks a SQLite file as ours
_LOCK_SECONDS = 20.0  # SQLite polls: of four busy processes, one waited for more than 5 s
_ROWS = 100  # read at once: a slow reader locks the file only meanwhile
_DELETE_OLDEST = """
DELETE FROM calls WHERE id IN (
    SELECT id FROM calls ORDER BY time, id LIMIT (SELECT count(*) * ? / ? + 1 FROM calls)
)"""
_NEXT_ROWS = """
SELECT time, id, record FROM calls WHERE (time, id) > (?, ?) AND time < ? ORDER BY time, id LIMIT ?"""


@dataclass(frozen=True, slots=True)
class AuditFile:
    """Where records are written, each a row of JSON.

    Each batch has its own connection, since none may be open while the process forks, and SQLite's
    rollback journal: no other file is left, and those who can't write the folder can read.

    :param path: The file, absolute.
    :param max_bytes: Its size after each batch, at most.
    :param max_seconds: The age beyond which records are removed with each batch.
    """

    path: Path
    max_bytes: float
    max_seconds: float

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Add records, and remove those beyond the bounds, all or nothing.

        :raises ConfigurationError: If the file is another program's.
        :raises OSError: If it can't be written.
        """
        rows = [
            (datetime.fromisoformat(record["time"]).timestamp(), json.dumps(record, default=str)) for record in records
        ]
        with _opened(self.path, "rwc") as link, link:
            self._begin(link)
            link.executemany("INSERT INTO calls (time, record) VALUES (?, ?)", rows)
            link.execute("DELETE FROM calls WHERE time < ?", [time.time() - self.max_seconds])
            self._shrink(link)

    def _begin(self, link: sqlite3.Connection) -> None:
        """Begin a transaction, and make the table unless it is there."""
        if not _pragma(link, "page_count"):
            link.execute("PRAGMA auto_vacuum = FULL")  # free pages leave the file; only before the first
        link.execute("PRAGMA secure_delete = ON")
        link.execute("BEGIN IMMEDIATE")
        if _pragma(link, "application_id") == APPLICATION_ID:
            return
        if _pragma(link, "application_id") or link.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise _foreign(self.path)
        link.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        link.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, time REAL NOT NULL, record TEXT NOT NULL)")
        link.execute("CREATE INDEX calls_by_time ON calls (time)")

    def _shrink(self, link: sqlite3.Connection) -> None:
        """Remove the oldest records, as many as the excess has on average, until the rest fits."""
        most, removed = self.max_bytes / _pragma(link, "page_size"), 1
        while removed and (used := _pragma(link, "page_count") - _pragma(link, "freelist_count")) > most:
            removed = link.execute(_DELETE_OLDEST, [math.ceil(used - most), used]).rowcount


def read_records(
    path: str | Path, since: datetime | None = None, until: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the records of an audit file, oldest first, also while others write it.

    :param path: The file.
    :param since: The first moment of the period, with its time zone.
    :param until: The moment after its last one.
    :raises ConfigurationError: If there is no such file, or it is another program's.
    :raises OSError: If it can't be read to its end.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_file():
        raise ConfigurationError(f"an audit file must be one of AuditLog, and there is no file {path}")
    last = (since.timestamp() if since else -math.inf, 0)
    end = until.timestamp() if until else math.inf
    # not read-only: after a kill, SQLite must roll the last batch back before anything can be read
    with _opened(path, "rw") as link:
        if _pragma(link, "application_id") != APPLICATION_ID:
            raise _foreign(path)
        while rows := link.execute(_NEXT_ROWS, (*last, end, _ROWS)).fetchall():
            yield from (json.loads(record) for _, _, record in rows)
            last = rows[-1][:2]


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open a file in one of SQLite's modes; its errors become ours."""
    try:
        address = f"{path.as_uri()}?mode={mode}"
        with closing(sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS)) as link:
            yield link
    except (sqlite3.Error, json.JSONDecodeError) as error:  # no database, locked, damaged, disk full
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise _foreign(path) from error
        raise OSError(f"{path} can't be used: {error}") from error


def _pragma(link: sqlite3.Connection, name: str) -> int:
    return int(link.execute(f"PRAGMA {name}").fetchone()[0])


def _foreign(path: Path) -> ConfigurationError:
    return ConfigurationError(f"an audit file must be new or one of AuditLog, and {path} isn't one")

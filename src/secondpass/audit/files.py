"""The files of an audit log, shared by processes: JSON Lines in four parts that rotate, or a SQLite table."""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from filelock import FileLock, Timeout

from secondpass.audit.record import MARK, VERSION
from secondpass.errors import ConfigurationError

PARTS = 4
"""JSON Lines are kept in so many files: the newest, and older ones whose names end in ``.1`` to ``.3``."""
APPLICATION_ID = 0x2DA55A0D  # marks a SQLite file as ours
_LOCK_SECONDS = 5.0
_SQLITE = {".db", ".sqlite", ".sqlite3"}
_BEGINNING = json.dumps({MARK: VERSION})[:-1].encode()
_JSON_LINES = {".jsonl", ".ndjson"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of an audit log.

    :param max_bytes: The most bytes of all its files together, but for a last batch of records.
    :param max_seconds: The age at which records are removed, when others are written.
    """

    max_bytes: float
    max_seconds: float


class RecordFile(Protocol):
    """Where records are written to."""

    def check(self) -> None:
        """Check that records can be written.

        :raises ConfigurationError: If the file is another program's.
        :raises OSError: If it can't be written.
        """
        ...

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records, and remove what is beyond the limits.

        :raises OSError: If it can't be written.
        """
        ...


def record_file(path: Path, limits: Limits) -> RecordFile:
    """Return the file for a path's suffix."""
    return SqliteRecords(path, limits) if is_sqlite(path) else JsonLines(path, limits)


def is_sqlite(path: Path) -> bool:
    """Return whether the suffix is one of SQLite's.

    :raises ConfigurationError: If it is neither that nor one of JSON Lines.
    """
    suffix = path.suffix.lower()
    if suffix not in _SQLITE | _JSON_LINES:
        raise ConfigurationError(
            f"an audit file must end in {', '.join(sorted(_JSON_LINES))} (JSON Lines) or "
            f"{', '.join(sorted(_SQLITE))} (SQLite), got {str(path)!r}"
        )
    return suffix in _SQLITE


def part(path: Path, number: int) -> Path:
    """Return the path of an older part, counted from 1; 0 is the newest."""
    return path.with_name(f"{path.name}.{number}") if number else path


def parsed(line: bytes | str) -> dict[str, Any] | None:
    """Return the record in a line, or None where it holds none."""
    try:
        record = json.loads(line)
        datetime.fromisoformat(record["time"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get(MARK), int) else None


def is_ours(file: BinaryIO) -> bool:
    """Return whether a file of lines is empty, begins with a record that may be cut off, or has one further on."""
    first = file.readline()
    return not first or first.startswith(_BEGINNING) or any(map(parsed, (first, *islice(file, 1000))))


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One record a line. Writers take turns by a lock file, and a line that was cut off is ended before the next."""

    path: Path
    limits: Limits

    def check(self) -> None:
        """See ``RecordFile``."""
        with self.path.open("ab+") as file, _locked(self.path):
            file.seek(0)
            if not is_ours(file):
                raise foreign(self.path)

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """See ``RecordFile``."""
        lines = (json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records)
        content = "".join(lines).encode("utf-8", "backslashreplace")
        with _locked(self.path):
            self._rotate(len(content))
            with self.path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, 2)
                    content = content if file.read(1) == b"\n" else b"\n" + content
                file.write(content)

    def _rotate(self, more: int) -> None:
        """Rename the parts where the newest is full or begins too long ago, and remove those that are too old.

        A part spans a quarter of the age at most, so that one goes when its last record has three quarters of it.
        """
        if self.path.exists() and self.path.stat().st_size:
            full = self.path.stat().st_size + more > self.limits.max_bytes / PARTS
            if full or time.time() - self._began() > self.limits.max_seconds / PARTS:
                for number in range(PARTS - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        part(self.path, number - 1).replace(part(self.path, number))
        oldest = time.time() - self.limits.max_seconds * (PARTS - 1) / PARTS
        for number in range(1, PARTS):
            older = part(self.path, number)
            if older.exists() and older.stat().st_mtime < oldest:
                older.unlink()

    def _began(self) -> float:
        """Return the time of the newest part's first record."""
        with self.path.open("rb") as file:
            first = parsed(file.readline())
        return datetime.fromisoformat(first["time"]).timestamp() if first else self.path.stat().st_mtime


@dataclass(frozen=True, slots=True)
class SqliteRecords:
    """One record a row, by time. Connections are opened for each batch: none is open while a process forks."""

    path: Path
    limits: Limits

    def check(self) -> None:
        """See ``RecordFile``."""
        self.write(())

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """See ``RecordFile``."""
        rows = [
            (datetime.fromisoformat(record["time"]).timestamp(), json.dumps(record, default=str)) for record in records
        ]
        try:
            with closing(sqlite3.connect(self.path, timeout=_LOCK_SECONDS)) as link, link:
                self._prepare(link)
                link.executemany("INSERT INTO calls (time, record) VALUES (?, ?)", rows)
                link.execute("DELETE FROM calls WHERE time < ?", [time.time() - self.limits.max_seconds])
                self._shrink(link)
        except sqlite3.DatabaseError as error:
            raise sqlite_error(self.path, error) from error

    def _prepare(self, link: sqlite3.Connection) -> None:
        link.execute("BEGIN IMMEDIATE")
        (mark,) = link.execute("PRAGMA application_id").fetchone()
        (tables,) = link.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and mark != APPLICATION_ID:
            raise foreign(self.path)
        if not tables:
            link.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            link.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, time REAL NOT NULL, record TEXT NOT NULL)")
            link.execute("CREATE INDEX calls_by_time ON calls (time)")

    def _shrink(self, link: sqlite3.Connection) -> None:
        """Remove the oldest tenth of the rows until the used pages are within the limit; free pages are used again."""
        while True:
            pages, free, size = (
                link.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
            removed = 0
            if (pages - free) * size > self.limits.max_bytes:
                oldest = "SELECT id FROM calls ORDER BY id LIMIT (SELECT count(*) / 10 + 1 FROM calls)"
                removed = link.execute(f"DELETE FROM calls WHERE id IN ({oldest})").rowcount  # noqa: S608  # no input
            if removed < 1:
                return


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside a path."""
    try:
        with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise OSError(f"{path} has been locked by another process for {_LOCK_SECONDS:g} s") from error


def sqlite_error(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """Return the error for a file that SQLite can't use: no database at all, or locked, damaged, or on a full disk."""
    if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return foreign(path)
    return OSError(f"{path} can't be used: {error}")


def foreign(path: Path) -> ConfigurationError:
    """Return the error for a file of another program."""
    return ConfigurationError(f"an audit file must be a new file or one with audit records, and {path} isn't one")

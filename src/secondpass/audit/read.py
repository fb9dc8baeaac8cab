"""Reading an audit file: its records in order of time, without what is no record."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from secondpass.audit.files import APPLICATION_ID, PARTS, foreign, is_ours, is_sqlite, parsed, part, sqlite_error
from secondpass.errors import ConfigurationError


@dataclass(slots=True)
class AuditFile:
    """An audit file, opened for reading, also while others write it.

    :param path: The file, of JSON Lines the newest part.
    :param skipped: How many lines of the last reading were no records.
    """

    path: Path
    skipped: int = 0

    def records(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[dict[str, Any]]:
        """Yield the records of a period, oldest first.

        :param since: The first moment of the period, with its time zone.
        :param until: The moment after its last one.
        :raises OSError: If the file can't be read to its end.
        """
        self.skipped = 0
        for line in self._rows() if is_sqlite(self.path) else self._lines():
            record = parsed(line)
            if record is None:
                self.skipped += bool(line.strip())
                continue
            when = datetime.fromisoformat(record["time"])
            if (since is None or when >= since) and (until is None or when < until):
                yield record

    def _lines(self) -> Iterator[bytes]:
        with ExitStack() as stack:
            files: list[BinaryIO] = []
            for number in range(PARTS):  # all are opened before the first is read, since writers rename them
                path = part(self.path, number)
                if path.exists():
                    files.append(stack.enter_context(path.open("rb")))
            for file in reversed(files):
                yield from file

    def _rows(self) -> Iterator[str]:
        with closing(_connected(self.path)) as link:
            try:
                for (record,) in link.execute("SELECT record FROM calls ORDER BY time, id"):
                    yield str(record)
            except sqlite3.DatabaseError as error:
                raise sqlite_error(self.path, error) from error


def open_audit_file(path: Path) -> AuditFile:
    """Return an audit file.

    :raises ConfigurationError: If there is no such file, or it is another program's.
    :raises OSError: If it can't be read.
    """
    sqlite = is_sqlite(path)
    if not path.is_file():
        raise ConfigurationError(f"an audit file must be one that AuditLog wrote, and there is no file {path}")
    if sqlite:
        _connected(path).close()
    else:
        with path.open("rb") as file:
            if not is_ours(file):
                raise foreign(path)
    return AuditFile(path)


def _connected(path: Path) -> sqlite3.Connection:
    # not read-only: after a kill, SQLite must roll the last batch back before anything can be read
    link = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    try:
        if link.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,):
            return link
    except sqlite3.DatabaseError as error:
        link.close()
        raise sqlite_error(path, error) from error
    link.close()
    raise foreign(path)

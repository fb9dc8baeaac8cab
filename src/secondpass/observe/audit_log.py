"""The audit log as an observer of a reranker."""

from pathlib import Path
from typing import Any

from secondpass.errors import ConfigurationError, checked
from secondpass.logs import REPEATED_WARNINGS
from secondpass.observe.audit_file import AuditFile
from secondpass.observe.audit_record import Contents, as_record
from secondpass.observers import CallEvent
from secondpass.processes import BackgroundQueue, ForkLock

_BATCH = 200  # records that are written together, at most


@checked
class AuditLog:
    """Writes a record of each call of a reranker: ``Reranker(observers=[AuditLog("audit.db")])``.

    A record has query, candidates' ids, both ranks and scores, what was kept, what was dropped and why,
    model, settings and times. Records are made and written in batches on a thread, so that a call only
    queues its ranking; those still queued when the interpreter exits are written first. Threads and
    processes may share a file.

    Both bounds hold after each batch, and once a log is created. A record goes, and is overwritten in
    the file, with the first batch after it is older than ``max_days``; before that, the oldest go only
    where the file would be larger than ``max_mb``. While a batch is written, this batch and SQLite's
    journal beside the file come on top; a file without records has 16 kB.

    :param path: The file, a SQLite database; a relative path is of the folder at this moment.
    :param max_mb: The most megabytes of the file.
    :param max_days: The age in days beyond which records are removed.
    :param queries: Whether records hold the query; without it, its hash.
    :param texts: Whether records hold the candidates' texts, and messages of errors.
    :param max_queued: How many calls may wait to be written; further ones are counted and logged.
    :raises ConfigurationError: If the file can't be written, is another program's, or a limit is out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_mb: float = 100.0,
        max_days: float = 90.0,
        queries: bool = True,
        texts: bool = False,
        max_queued: int = 1000,
    ) -> None:
        if not (max_mb > 0 and max_days > 0 and max_queued >= 1):
            raise ConfigurationError(
                "max_mb and max_days must be above 0 and max_queued 1 or more, got "
                f"{max_mb!r}, {max_days!r}, {max_queued!r}"
            )
        self.path = Path(path).expanduser().absolute()  # the process may change its folder
        self.lost = 0
        """How many records are missing: they came too fast, or the file couldn't be written."""
        self._contents = Contents(queries, texts)
        self._file = AuditFile(self.path, max_mb * 1e6, max_days * 86400)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.write(())
        except OSError as error:
            raise ConfigurationError(f"an audit file must be one that can be written: {error}") from error
        self._lock = ForkLock()
        self._records = BackgroundQueue(self._write, "secondpass-audit", most=max_queued, batch=_BATCH)

    def __repr__(self) -> str:
        """Return the file."""
        return f"AuditLog({str(self.path)!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "AuditLog":
        """Share the file and its thread."""
        return self

    def observe(self, event: CallEvent) -> None:
        """Queue the record of a call."""
        if not self._records.put(event):
            self._lose(1, "they come faster than they can be written")

    def flush(self) -> None:
        """Wait until all records that are queued so far are written."""
        self._records.flush()

    def _write(self, batch: list[CallEvent]) -> None:
        if self._records.cut:  # SQLite keeps its locks in memory too: this copy believes to have those of the batch
            self._lose(len(batch), "the process was forked while a batch was written")
            return
        try:
            self._file.write([as_record(event, self._contents) for event in batch])
        except Exception as error:  # noqa: BLE001  # the thread must go on
            of_file = isinstance(error, OSError | ConfigurationError)  # others may hold texts
            self._lose(len(batch), str(error) if of_file else f"of {type(error).__name__}")

    def _lose(self, records: int, why: str) -> None:
        with self._lock:
            self.lost += records
        message = "%d records are missing in the audit log %s, the last of them because %s"
        REPEATED_WARNINGS.warn(("audit", self.path), message, self.lost, self.path, why)

"""The audit log as an observer of a reranker."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from secondpass.errors import ConfigurationError, checked
from secondpass.logs import REPEATED_WARNINGS
from secondpass.observe.audit_file import AuditFile
from secondpass.observe.audit_record import Contents, call_record, failure_record
from secondpass.observers import CallInfo, CallObserver
from secondpass.processes import ForkLock, renew_in_child
from secondpass.ranking import Ranking

_BATCH = 200  # records that are written together, at most


@checked
class AuditLog(CallObserver):
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

    _executor: ThreadPoolExecutor

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
        self._max_queued = max_queued
        self._file = AuditFile(self.path, max_mb * 1e6, max_days * 86400)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.write(())
        except OSError as error:
            raise ConfigurationError(f"an audit file must be one that can be written: {error}") from error
        self._lock = ForkLock()  # of the queue; held for an instant
        self._writing = ForkLock(waited=True)
        self._renew()
        renew_in_child(self, AuditLog._renew)

    def __repr__(self) -> str:
        """Return the file."""
        return f"AuditLog({str(self.path)!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "AuditLog":
        """Share the file and its thread."""
        return self

    def observe(self, ranking: Ranking, call: CallInfo | None) -> None:
        """Queue the record of a call."""
        self._queue(partial(call_record, ranking, call, time.time(), self._contents))

    def failed(self, error: BaseException, call: CallInfo) -> None:
        """Queue the record of a call that raised."""
        self._queue(partial(failure_record, error, call, self._contents))

    def flush(self) -> None:
        """Wait until all records that are queued so far are written."""
        with suppress(RuntimeError):  # the interpreter is exiting, and has waited for them
            self._executor.submit(int).result()  # it has one thread, which takes its work in order

    def close(self) -> None:
        """Write what is queued, and end the thread; another record begins another one."""
        self.flush()
        with self._lock:
            executor, self._executor = self._executor, _one_thread()
        executor.shutdown()

    def _renew(self) -> None:
        """Begin with an empty queue, also in a forked process: the parent writes its own."""
        self._queued: deque[Callable[[], dict[str, Any]]] = deque()
        self._executor = _one_thread()
        self._scheduled = False

    def _queue(self, make: Callable[[], dict[str, Any]]) -> None:
        with self._lock:
            full = len(self._queued) >= self._max_queued
            starts = not (full or self._scheduled)
            if not full:
                self._queued.append(make)
                self._scheduled = True
            executor = self._executor
        if full:
            self._lose(1, "they come faster than they can be written")
        if starts:
            try:
                executor.submit(self._write_queued)
            except RuntimeError:  # the interpreter is exiting, and takes no more work for threads
                self._write_queued()

    def _write_queued(self) -> None:
        while True:
            with self._writing:
                with self._lock:
                    batch = [self._queued.popleft() for _ in range(min(_BATCH, len(self._queued)))]
                    self._scheduled = bool(batch)
                if not batch:
                    return
                self._write(batch)

    def _write(self, batch: list[Callable[[], dict[str, Any]]]) -> None:
        if self._writing.cut:  # SQLite keeps its locks in memory too: this copy believes to have those of the batch
            self._lose(len(batch), "the process was forked while a batch was written")
            return
        try:
            self._file.write([make() for make in batch])
        except Exception as error:  # noqa: BLE001  # the thread must go on
            of_file = isinstance(error, OSError | ConfigurationError)  # others may hold texts
            self._lose(len(batch), str(error) if of_file else f"of {type(error).__name__}")

    def _lose(self, records: int, why: str) -> None:
        with self._lock:
            self.lost += records
        message = "%d records are missing in the audit log %s, the last of them because %s"
        REPEATED_WARNINGS.warn(("audit", self.path), message, self.lost, self.path, why)


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="secondpass-audit")  # begins with the first work

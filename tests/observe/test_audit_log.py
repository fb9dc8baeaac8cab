"""The audit log as an observer: what a record holds, bounds, faults, processes."""

import logging
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from worlds import Failing

from secondpass import Call, Candidate, ContextBudget, OverlapScorer, Reranker, Selection, processes
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.observe import AuditLog, read_records
from secondpass.observe.audit_file import AuditFile

FOXES = [
    Candidate("a blue whale", id="whale", score=0.9),
    Candidate("a red fox", id="fox", score=0.5),
    Candidate("a red fox", id="copy", score=0.4),
    Candidate("red", source="notes"),
]
SELECTION = Selection(top_n=1, min_probability=0.1, budget=ContextBudget(max_tokens=50))


def logged(log: AuditLog) -> list[dict[str, Any]]:
    """Return the records in the log's file."""
    log.flush()
    return list(read_records(log.path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path for an audit file."""
    return tmp_path / "audit.db"


def test_a_record_says_what_became_of_each_candidate(path: Path) -> None:
    """A record has the query, both ranks and scores, the reasons, model, settings and times, and no texts."""
    log = AuditLog(path)
    reranker = Reranker(OverlapScorer(), selection=SELECTION, observers=[log], deadline_ms=60_000)
    reranker.rerank("red fox", FOXES)
    [record] = logged(log)
    assert (record["query"], record["model"], record["kept"], record["degraded"]) == ("red fox", "overlap", 1, None)
    assert record["seconds"] >= sum(stage["seconds"] for stage in record["stages"]) - 1e-5
    assert [stage["name"] for stage in record["stages"]] == ["score", "select"]
    assert record["settings"] == {
        "top_n": 1,
        "min_probability": 0.1,
        "budget": {"max_tokens": 50, "counter": "estimate"},
        "deadline_ms": 60_000,
    }
    fox, *dropped = record["candidates"]
    assert (fox["id"], fox["rank"], fox["rank_before"], fox["first_stage_score"]) == ("fox", 1, 2, 0.5)
    assert fox["score"] == fox["probability"] == 1.0
    by_id = {item.get("id"): item for item in dropped}
    assert (by_id["copy"]["reason"], by_id["copy"]["because_of"]) == ("duplicate", "fox")
    assert by_id["whale"]["reason"] == "below threshold"
    assert (by_id[None]["reason"], by_id[None]["source"]) == ("over top-n", "notes")
    assert len(by_id[None]["text_hash"]) == 16  # an id for what has none
    assert "blue whale" not in path.read_bytes().decode(errors="replace")


def test_queries_can_be_left_out_and_texts_asked_for(path: Path) -> None:
    """Without queries a record has a hash of each; with texts it has the candidates' texts."""
    log = AuditLog(path, queries=False, texts=True)
    Reranker(OverlapScorer(), observers=[log]).rerank("red fox", FOXES)
    [record] = logged(log)
    assert "query" not in record
    assert len(record["query_hash"]) == 16
    assert record["candidates"][0]["text"] == "a red fox"


def test_degraded_and_failed_calls_are_recorded_without_messages(path: Path) -> None:
    """A degraded call has its cause, one that raised its kind of error, and neither a message."""
    log = AuditLog(path)
    Reranker(Failing(), observers=[log]).rerank("q", ["a"])
    with pytest.raises(ScoringError):
        Reranker(Failing(), observers=[log], on_error="raise").rerank("q", ["a"])
    Reranker(OverlapScorer(), observers=[log]).rerank("q", ["a"], call=Call(0))
    failing, raising, late = logged(log)
    assert failing["degraded"] == {"cause": "scorer failed", "detail": ""}
    assert raising["error"] == {"kind": "ScoringError"}
    assert late["degraded"]["detail"].startswith("1 of 1 candidates without a score")


def test_rerank_many_gives_a_record_for_each_query(path: Path) -> None:
    """Each query of ``rerank_many`` has its own record, in their order."""
    log = AuditLog(path)
    list(Reranker(OverlapScorer(), observers=[log]).rerank_many((f"q{n}", ["a", "b"]) for n in range(5)))
    assert [record["query"] for record in logged(log)] == [f"q{n}" for n in range(5)]


def test_a_call_does_not_wait_for_the_file(tmp_path: Path) -> None:
    """While the file is locked, calls return; what doesn't fit the queue is left out and counted, never waited for."""
    log = AuditLog(tmp_path / "audit.db", max_queued=3)
    reranker = Reranker(OverlapScorer(), observers=[log])
    with log._records._working:  # as if the disk hung
        for _ in range(10):
            reranker.rerank("red fox", FOXES)
        assert log.lost == 7
    assert len(logged(log)) == 3


def test_a_file_that_cannot_be_written_loses_records_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the folder becomes unusable, calls go on; the missing records are counted, and logged once."""
    folder = tmp_path / "logs"
    log = AuditLog(folder / "audit.db")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.touch()
    with caplog.at_level(logging.WARNING, "secondpass"):
        for _ in range(3):
            Reranker(OverlapScorer(), observers=[log]).rerank("red fox", FOXES)
            log.flush()
    assert log.lost == 3
    assert [record.message for record in caplog.records if "records are missing" in record.message] == [
        caplog.records[0].message
    ]


def test_a_record_that_cannot_be_made_does_not_end_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error while a record is made is logged without its message, and later records are written."""
    log = AuditLog(tmp_path / "audit.db")
    log.observe("no event")  # type: ignore[arg-type]
    log.flush()
    assert caplog.messages[-1].endswith("because of AttributeError")
    Reranker(OverlapScorer(), observers=[log]).rerank("red fox", FOXES)
    assert (len(logged(log)), log.lost) == (1, 1)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which root can't write either")
def test_a_read_only_folder_is_an_error_at_once() -> None:
    """A log that can't be written is refused when it is created."""
    with pytest.raises(ConfigurationError, match="must be one that can be written"):
        AuditLog("/proc/self/audit.db")


@pytest.mark.parametrize("content", [b"id,name\n1,fox\n", b'{"query": "q"}\n', b"no line end", b"\x00\xff" * 3000])
def test_another_programs_file_is_refused_and_kept(path: Path, content: bytes) -> None:
    """Neither the log nor its reader take a file that isn't theirs, and it isn't changed."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="isn't one"):
        AuditLog(path)
    with pytest.raises(ConfigurationError, match="isn't one"):
        next(read_records(path))
    assert path.read_bytes() == content


@pytest.mark.parametrize("statement", ["CREATE TABLE calls (id, time, record)", "PRAGMA application_id = 1"])
def test_another_programs_database_is_refused_and_kept(path: Path, statement: str) -> None:
    """A SQLite file of another program stays as it is."""
    with closing(sqlite3.connect(path)) as link:
        link.execute("PRAGMA auto_vacuum = INCREMENTAL")
        link.execute(statement)
    test_another_programs_file_is_refused_and_kept(path, path.read_bytes())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_mb": 0}, "max_mb"), ({"max_days": float("nan")}, "max_days"), ({"max_queued": 0}, "max_queued")],
)
def test_limits_are_checked(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    """A limit must be above 0."""
    with pytest.raises(ConfigurationError, match=message):
        AuditLog(tmp_path / "audit.db", **settings)


def entry(seconds_ago: float, query: str = "") -> dict[str, Any]:
    """Return a record of 1 kB."""
    time = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    return {"time": time, "query": query, "text": "t" * 1000}


def queries(path: Path) -> list[str]:
    return [record["query"] for record in read_records(path)]


def test_size_is_bounded_after_each_batch(path: Path) -> None:
    """Of batches of any size the newest records stay, as many as fit, and a lower bound makes the file smaller."""
    written: list[str] = []
    for size in (1, 7, 50, 1, 1, 200, 3):
        batch = [str(len(written) + number) for number in range(size)]
        written += batch
        AuditFile(path, 100_000, 1e9).write([entry(0, query) for query in batch])
        kept = queries(path)
        assert path.stat().st_size <= 100_000
        assert kept == written[-len(kept) :]
        assert len(kept) >= min(len(written), 50)
        assert [file.name for file in path.parent.iterdir()] == ["audit.db"]
    AuditFile(path, 50_000, 1e9).write([])
    assert path.stat().st_size <= 50_000
    assert queries(path) == written[-len(queries(path)) :]


def test_a_record_goes_when_it_is_older_than_the_age_and_not_before(path: Path) -> None:
    """The next batch removes what is older than the bound, in any order of writing, and its bytes are gone."""
    file = AuditFile(path, 1e9, 3600)
    file.write([entry(3590, "younger"), entry(3610, "older"), entry(0, "new")])
    assert queries(path) == ["younger", "new"]
    AuditFile(path, 1e9, 3000).write([])
    assert queries(path) == ["new"]
    assert b"younger" not in path.read_bytes()


def test_a_log_removes_what_is_too_old_when_it_is_created(path: Path) -> None:
    """A program that starts rarely keeps no record beyond its age."""
    AuditFile(path, 1e9, 1e9).write([entry(86_000, "younger"), entry(87_000, "older")])
    AuditLog(path, max_days=1)
    assert queries(path) == ["younger"]


def test_a_slow_reader_holds_up_no_writer(path: Path) -> None:
    """While records are read one by one, others are written, and the reader meets them."""
    log = AuditLog(path)
    AuditFile(path, 1e9, 1e9).write([entry(9, str(number)) for number in range(300)])
    reader = read_records(path)
    assert next(reader)["query"] == "0"
    Reranker(OverlapScorer(), observers=[log]).rerank("red fox", FOXES)
    log.flush()
    assert log.lost == 0
    assert [record["query"] for record in reader][-2:] == ["299", "red fox"]


def test_a_damaged_database_is_one_error(tmp_path: Path) -> None:
    """A log whose database was damaged loses records and counts them, and its reader says that it can't be read."""
    path = tmp_path / "audit.db"
    log = AuditLog(path)
    for _ in range(50):
        Reranker(OverlapScorer(), observers=[log]).rerank("red fox " * 50, FOXES)
    log.flush()
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(OSError, match="can't be used"):
        list(read_records(path))
    Reranker(OverlapScorer(), observers=[log]).rerank("red fox", FOXES)
    log.flush()
    assert log.lost == 1


def test_threads_share_a_log(path: Path) -> None:
    """Calls from several threads each have their record."""
    log = AuditLog(path)
    reranker = Reranker(OverlapScorer(), observers=[log])
    threads = [
        threading.Thread(target=lambda: [reranker.rerank("red fox", FOXES) for _ in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(logged(log)), log.lost) == (80, 0)


def write_many(path: Path, name: str) -> None:
    log = AuditLog(path, max_mb=0.2)
    for number in range(50):
        Reranker(OverlapScorer(), observers=[log]).rerank(f"{name} {number} " + "long " * 100, FOXES)


def test_processes_share_a_file(path: Path) -> None:
    """Three processes write one small file at once: it stays within its bound, and the newest records are there."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(path, f"p{n}")) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    written = [record["query"].split()[1] for record in read_records(path)]
    assert len(written) > 50
    assert written[-1] == "49"
    assert path.stat().st_size <= 200_000


EXIT = """
import sys
from secondpass import OverlapScorer, Reranker
from secondpass.observe import AuditLog
reranker = Reranker(OverlapScorer(), observers=[AuditLog(sys.argv[1])])
for number in range(30):
    reranker.rerank(f"q{number}", ["a", "b"])
"""


def test_what_is_queued_is_written_before_the_interpreter_exits(path: Path) -> None:
    """A program that ends without closing its log has all records in the file."""
    subprocess.run([sys.executable, "-c", EXIT, path], check=True, timeout=60)
    assert queries(path) == [f"q{n}" for n in range(30)]


def in_child(action: Callable[[], None]) -> int:
    """Run something in a forked process, and return its exit status."""
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_writes_its_own_records(path: Path) -> None:
    """After a fork both processes write, and what the parent had queued is written once."""
    log = AuditLog(path)
    reranker = Reranker(OverlapScorer(), observers=[log])
    for number in range(20):
        reranker.rerank(f"parent {number}", FOXES)

    def work() -> None:
        reranker.rerank("child", FOXES)
        log.flush()

    assert in_child(work) == 0
    written = sorted(record["query"] for record in logged(log))
    assert written == sorted(["child", *(f"parent {number}" for number in range(20))])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_process_forked_in_the_middle_of_a_batch_leaves_the_file_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a batch takes longer than a fork waits, the child writes nothing: it would believe to hold its locks."""
    monkeypatch.setattr(processes, "_FORK_SECONDS", 0.01)
    log = AuditLog(path)
    lost = path.with_name("lost")

    def work() -> None:
        Reranker(OverlapScorer(), observers=[log]).rerank("child", FOXES)
        log.flush()
        lost.write_text(str(log.lost))

    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with log._records._working:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert in_child(work) == 0
    release.set()
    thread.join()
    Reranker(OverlapScorer(), observers=[log]).rerank("parent", FOXES)
    assert [record["query"] for record in logged(log)] == ["parent"]
    assert lost.read_text() == "1"


FULL = """
import resource, signal, sys
from secondpass import OverlapScorer, Reranker
from secondpass.observe import AuditLog
log = AuditLog(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for number in range(100):
    assert Reranker(OverlapScorer(), observers=[log]).rerank(f"q{number} " + "long " * 500, ["a"]).kept
    log.flush()
assert 0 < log.lost < 100, log.lost
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limit of a file's size")
def test_a_full_disk_costs_records_and_not_the_file(path: Path) -> None:
    """Where no more can be written, calls go on, what was written stays readable, and the loss is logged once."""
    done = subprocess.run([sys.executable, "-c", FULL, path], check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr.count("records are missing") == 1
    assert "long" not in done.stderr
    assert [query.split()[0] for query in queries(path)] == [f"q{number}" for number in range(len(queries(path)))]


CLOSED_AT_EXIT = """
import atexit, sys
from secondpass import OverlapScorer, Reranker
from secondpass.observe import AuditLog
log = AuditLog(sys.argv[1])
atexit.register(log.flush)
Reranker(OverlapScorer(), observers=[log]).rerank("q", ["a", "b"])
"""


def test_a_log_can_be_closed_while_the_interpreter_exits(path: Path) -> None:
    """``atexit.register(log.flush)`` raises nothing: by then all is written."""
    done = subprocess.run([sys.executable, "-c", CLOSED_AT_EXIT, path], capture_output=True, timeout=60, check=True)
    assert (done.stderr, queries(path)) == (b"", ["q"])


KILLED = """
import sys
from secondpass import OverlapScorer, Reranker
from secondpass.observe import AuditLog
log = AuditLog(sys.argv[1])
for number in range(10**6):
    Reranker(OverlapScorer(), observers=[log]).rerank(f"q{number}", ["a b"] * 30)
    log.flush()
    if number == 20:
        print("writing", flush=True)
"""


def test_processes_that_are_killed_leave_a_readable_file(path: Path) -> None:
    """After two writers were killed in the middle of their work, the file takes and gives records as before."""
    writers = [subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
    for writer in writers:
        writer.kill()
        writer.communicate()
    log = AuditLog(path)
    Reranker(OverlapScorer(), observers=[log]).rerank("after", FOXES)
    log.flush()
    assert len(queries(path)) > 40
    assert queries(path)[-1] == "after"


def test_a_relative_path_is_of_the_folder_at_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its folder later doesn't move its audit log."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    log = AuditLog("audit.db")
    monkeypatch.chdir(elsewhere)
    Reranker(OverlapScorer(), observers=[log]).rerank("a red fox", ["a red fox"])
    log.flush()
    assert list(elsewhere.iterdir()) == []
    assert queries(tmp_path / "audit.db") == ["a red fox"]

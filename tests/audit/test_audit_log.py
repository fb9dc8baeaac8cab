"""The audit log as an observer: what a record holds, bounds, faults, processes."""

import json
import logging
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from worlds import Failing

from secondpass import Call, Candidate, ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.audit import AuditLog, open_audit_file
from secondpass.audit.files import Limits, record_file
from secondpass.errors import ConfigurationError, ScoringError

FOXES = [
    Candidate("a blue whale", id="whale", score=0.9),
    Candidate("a red fox", id="fox", score=0.5),
    Candidate("a red fox", id="copy", score=0.4),
    Candidate("red", source="notes"),
]
SELECTION = Selection(top_k=1, min_probability=0.1, budget=ContextBudget(max_tokens=50))
SUFFIXES = [".jsonl", ".db"]


def logged(log: AuditLog) -> list[dict[str, Any]]:
    """Return the records in the log's file."""
    log.close()
    return list(open_audit_file(log.path).records())


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a path for an audit file of each form."""
    return tmp_path / f"audit{request.param}"


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
        "top_k": 1,
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
    assert (by_id[None]["reason"], by_id[None]["source"]) == ("over top-k", "notes")
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


def test_a_ranking_alone_is_recorded(path: Path) -> None:
    """The log is a function of a ranking too; then time and settings are unknown."""
    log = AuditLog(path)
    log(Reranker(OverlapScorer()).rerank("red fox", FOXES))
    [record] = logged(log)
    assert (record["kept"], record["seconds"], record["settings"]) == (3, None, {})


def test_a_call_does_not_wait_for_the_file(tmp_path: Path) -> None:
    """While the file is locked, calls return; what doesn't fit the queue is left out and counted, never waited for."""
    log = AuditLog(tmp_path / "audit.jsonl", max_queued=3)
    reranker = Reranker(OverlapScorer(), observers=[log])
    with log._writing:  # as if the disk hung
        for _ in range(10):
            reranker.rerank("red fox", FOXES)
        assert log.lost == 7
    assert len(logged(log)) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_cannot_be_written_loses_records_and_says_so(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the folder becomes unusable, calls go on; the missing records are counted, and logged once."""
    folder = tmp_path / "logs"
    log = AuditLog(folder / f"audit{suffix}")
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
    """An error while a record is made is logged with its trace, and later records are written."""
    log = AuditLog(tmp_path / "audit.jsonl")
    log("no ranking")  # type: ignore[arg-type]
    log.flush()
    assert "could not be made" in caplog.text
    log(Reranker(OverlapScorer()).rerank("red fox", FOXES))
    assert (len(logged(log)), log.lost) == (1, 1)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which root can't write either")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_read_only_folder_is_an_error_at_once(suffix: str) -> None:
    """A log that can't be written is refused when it is created."""
    with pytest.raises(ConfigurationError, match="must be one that can be written"):
        AuditLog(f"/proc/self/audit{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"id,name\n1,fox\n", b'{"query": "q"}\n', b"no line end", b"\x00\xff" * 3000])
def test_another_programs_file_is_refused_and_kept(tmp_path: Path, suffix: str, content: bytes) -> None:
    """Neither the log nor its reader take a file that isn't theirs, and it isn't changed."""
    path = tmp_path / f"audit{suffix}"
    path.write_bytes(content)
    for use in (AuditLog, open_audit_file):
        with pytest.raises(ConfigurationError, match="isn't one"):
            use(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file of another program stays as it is."""
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE calls (id, time, record)")
    link.close()
    for use in (AuditLog, open_audit_file):
        with pytest.raises(ConfigurationError, match="isn't one"):
            use(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_mb": 0}, "max_mb"), ({"max_days": float("nan")}, "max_days"), ({"max_queued": 0}, "max_queued")],
)
def test_limits_are_checked(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    """A limit must be above 0, and a suffix must be one of the two forms'."""
    with pytest.raises(ConfigurationError, match=message):
        AuditLog(tmp_path / "audit.jsonl", **settings)
    with pytest.raises(ConfigurationError, match="must end in"):
        AuditLog(tmp_path / "audit.txt")


def test_a_line_that_was_cut_off_costs_one_record(tmp_path: Path) -> None:
    """After a kill in the middle of a line the next record begins a line of its own, and the reader skips one."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for _ in range(2):
        log(Reranker(OverlapScorer()).rerank("red fox", FOXES))
        log.flush()
    path.write_bytes(path.read_bytes()[:-40])
    again = AuditLog(path)
    again(Reranker(OverlapScorer()).rerank("red fox", FOXES))
    again.close()
    opened = open_audit_file(path)
    assert len(list(opened.records())) == 2
    assert opened.skipped == 1


def written(path: Path, times: list[str], limits: Limits) -> list[str]:
    """Write a record of each time, one a batch, and return the times that the file has."""
    file = record_file(path, limits)
    for time in times:
        file.write([{"secondpass": 1, "time": time, "query": "q" * 1000}])
    return [record["time"] for record in open_audit_file(path).records()]


def test_size_is_bounded(path: Path) -> None:
    """All parts together stay within the limit but for a batch, and hold the newest records in their order."""
    times = [f"2999-01-01T00:{n // 60:02}:{n % 60:02}+00:00" for n in range(300)]
    kept = written(path, times, Limits(max_bytes=100_000, max_seconds=1e12))
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 110_000
    assert len(kept) > 60
    assert kept == times[-len(kept) :]


def test_age_is_bounded(path: Path) -> None:
    """The next write removes records beyond the age, and keeps those below it."""
    limits = Limits(max_bytes=1e9, max_seconds=3600)
    written(path, ["2001-01-01T00:00:00+00:00", "2001-01-01T00:00:01+00:00"], limits)
    for file in path.parent.iterdir():
        os.utime(file, (0, 0))
    half_an_hour_ago = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    now = datetime.now(UTC).isoformat()
    assert written(path, [half_an_hour_ago], limits) == [half_an_hour_ago]
    assert written(path, [now, now], limits) == [half_an_hour_ago, now, now]


def test_a_damaged_database_is_one_error(tmp_path: Path) -> None:
    """A log whose database was damaged loses records and counts them, and its reader says that it can't be read."""
    path = tmp_path / "audit.db"
    log = AuditLog(path)
    for _ in range(50):
        log(Reranker(OverlapScorer()).rerank("red fox " * 50, FOXES))
    log.flush()
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(OSError, match="can't be used"):
        list(open_audit_file(path).records())
    log(Reranker(OverlapScorer()).rerank("red fox", FOXES))
    log.close()
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


def test_processes_share_a_file_that_rotates(path: Path) -> None:
    """Three processes write one small file at once: no line is damaged, and the newest records of each are there."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(path, f"p{n}")) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    opened = open_audit_file(path)
    queries = [record["query"].split()[:2] for record in opened.records()]
    assert opened.skipped == 0
    assert len({tuple(query) for query in queries}) == len(queries)
    assert queries[-1][1] == "49"


EXIT = """
import sys
from secondpass import OverlapScorer, Reranker
from secondpass.audit import AuditLog
reranker = Reranker(OverlapScorer(), observers=[AuditLog(sys.argv[1])])
for number in range(30):
    reranker.rerank(f"q{number}", ["a", "b"])
"""


def test_what_is_queued_is_written_before_the_interpreter_exits(path: Path) -> None:
    """A program that ends without closing its log has all records in the file."""
    subprocess.run([sys.executable, "-c", EXIT, path], check=True, timeout=60)
    assert [record["query"] for record in open_audit_file(path).records()] == [f"q{n}" for n in range(30)]


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
        log.close()

    assert in_child(work) == 0
    queries = sorted(record["query"] for record in logged(log))
    assert queries == sorted(["child", *(f"parent {number}" for number in range(20))])


def test_lines_are_json_in_utf_8_also_with_lone_surrogates(tmp_path: Path) -> None:
    """Any query gives one line of JSON."""
    log = AuditLog(tmp_path / "audit.jsonl")
    for query in ("größe\n\u2028 𝄞", "half \ud83d"):
        Reranker(OverlapScorer(), observers=[log]).rerank(query, ["a"])
    log.close()
    lines = log.path.read_bytes().split(b"\n")
    assert [json.loads(line)["query"] for line in lines[:-1]] == ["größe\n\u2028 𝄞", "half \ud83d"]


KILLED = """
import sys
from secondpass import OverlapScorer, Reranker
from secondpass.audit import AuditLog
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
    log.close()
    opened = open_audit_file(path)
    queries = [record["query"] for record in opened.records()]
    assert len(queries) > 40
    assert queries[-1] == "after"
    assert opened.skipped <= len(writers)


def test_a_relative_path_is_of_the_folder_at_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its folder later doesn't move its audit log."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    log = AuditLog("audit.jsonl")
    monkeypatch.chdir(elsewhere)
    Reranker(OverlapScorer(), observers=[log]).rerank("a red fox", ["a red fox"])
    log.close()
    assert list(elsewhere.iterdir()) == []
    assert len(list(open_audit_file(tmp_path / "audit.jsonl").records())) == 1

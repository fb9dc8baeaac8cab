"""The score cache under threads, deadlines, forks and several processes."""

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from worlds import Scripted

from secondpass import Call, processes
from secondpass.records import Pair, Score, Unscored, UnscoredReason
from secondpass.scorers import score_store
from secondpass.scorers.cached import Cached
from secondpass.scorers.score_store import ScoreStore

PAIR = Pair("query", "a")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
quiet = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def _write_for_ever(path: Path) -> None:
    file, number = ScoreStore(path, max_entries=100_000), 0
    while True:
        file.write({number.to_bytes(8, "big"): Score(number)})
        number += 1


def test_killed_writers_damage_nothing(tmp_path: Path) -> None:
    """Processes that are killed while they write leave a sound file, in which every row has its checksum."""
    path, context = tmp_path / "scores.db", multiprocessing.get_context("spawn")
    ScoreStore(path, 100_000).write({b"first": Score(0.5)})
    for _ in range(2):
        writers = [context.Process(target=_write_for_ever, args=(path,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        before = path.with_name("scores.db-wal").stat().st_size if path.with_name("scores.db-wal").exists() else 0
        while not path.with_name("scores.db-wal").exists() or path.with_name("scores.db-wal").stat().st_size <= before:
            time.sleep(0.01)
        for writer in writers:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
    with sqlite3.connect(path) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = [key for (key,) in link.execute("SELECT key FROM scores")]
    link.close()
    assert len(ScoreStore(path, 100_000).read(keys)) == len(keys) > 1


def _fill(path: Path, first: int) -> None:
    file = ScoreStore(path, max_entries=100_000)
    for number in range(first, first + 200):
        file.write({number.to_bytes(8, "big"): Score(number)})


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    """What three processes write at once is all there, unless one waited too long for the file."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_fill, args=(tmp_path / "scores.db", 1000 * turn)) for turn in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    keys = [(1000 * turn + number).to_bytes(8, "big") for turn in range(3) for number in range(200)]
    found = ScoreStore(tmp_path / "scores.db", 100_000).read(keys)
    assert len(found) > 300
    assert all(score.value == int.from_bytes(key, "big") for key, score in found.items())


@contextmanager
def held_locks(cache: Cached, until: Callable[[], object]) -> Iterator[None]:
    """Have another thread hold the cache's locks until a function returns."""
    held = threading.Event()

    def hold() -> None:
        assert cache._file
        with cache._memory._lock, cache._file._lock:
            held.set()
            until()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    thread.join()


def ends_well(work: Callable[[], object]) -> bool:
    """Fork, and return whether the child came to the end of some work; a child that hangs is ended after a minute."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


@forks
@quiet
def test_a_child_of_a_busy_process_does_not_hang(tmp_path: Path) -> None:
    """A fork waits for the thread that uses the cache, and both processes go on with it."""
    cache = Cached(Scripted({"a": 1.0, "b": 2.0}), tmp_path / "scores.db")
    with held_locks(cache, until=lambda: time.sleep(0.1)):
        assert ends_well(lambda: cache.score_pairs([PAIR]))
    cache.score_pairs([Pair("query", "b")])
    facts = Cached(Scripted({}), tmp_path / "scores.db").score_pairs([PAIR, Pair("query", "b")]).stages[0].facts
    assert facts["hits_on_disk"] == 2


@forks
@quiet
def test_a_child_whose_parent_never_let_go_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the thread goes on for too long, the child has the locks anew, and leaves the file alone."""
    monkeypatch.setattr(processes, "_FORK_SECONDS", 0.01)
    cache = Cached(Scripted({"a": 1.0}), tmp_path / "scores.db")
    cache.score_pairs([Pair("query", "before")])

    def work() -> None:
        assert cache.score_pairs([PAIR]).outcomes == (Score(1.0),)
        assert cache._file
        assert cache._file.failures > 0

    release = threading.Event()
    with held_locks(cache, until=release.wait):
        well = ends_well(work)
        release.set()
    assert well
    assert cache.score_pairs([PAIR]).stages[0].facts["misses"] == 1


@forks
@quiet
def test_what_a_child_writes_is_not_lost(tmp_path: Path) -> None:
    """A child has a connection of its own, which outlives its parent's."""
    path = tmp_path / "scores.db"
    file = ScoreStore(path, 100)
    file.write({b"parent": Score(1.0)})
    (to_parent, from_child), (to_child, from_parent) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)
        file.write({b"first": Score(2.0)})
        os.write(from_child, b".")
        os.read(to_child, 1)
        file.write({b"second": Score(3.0)})
        os._exit(0)
    os.read(to_parent, 1)
    file.close()
    os.write(from_parent, b".")
    assert os.waitpid(child, 0)[1] == 0
    assert set(ScoreStore(path, 100).read([b"parent", b"first", b"second"])) == {b"parent", b"first", b"second"}
    for end in (to_parent, from_child, to_child, from_parent):
        os.close(end)


@pytest.mark.parametrize("reason", [UnscoredReason.DEADLINE, UnscoredReason.CANCELLED])
def test_a_call_waits_for_the_file_no_longer_than_it_may(tmp_path: Path, reason: UnscoredReason) -> None:
    """While another thread uses the file, a call that ran out of time goes on as if nothing were cached: unscored."""
    cache = Cached(Scripted({"a": 1.0}), tmp_path / "scores.db")
    call = Call(20 if reason is UnscoredReason.DEADLINE else None)
    threading.Timer(0.02, call.cancel if reason is UnscoredReason.CANCELLED else int).start()
    assert cache._file
    with ThreadPoolExecutor(1) as pool, cache._file._lock:
        answer = pool.submit(cache.score_pairs, [PAIR], call=call)
        scored = answer.result(timeout=10)
    assert scored.outcomes == (Unscored(reason),)
    assert (scored.stages[0].facts["misses"], cache._file.failures) == (1, 0)


def test_sqlite_waits_no_longer_than_the_call_may(tmp_path: Path) -> None:
    """While another process writes, a call with little time left gives the file up in time."""
    file = ScoreStore(tmp_path / "scores.db", 9)
    file.write({b"key": Score(1.0)}, Call(50))
    assert file._link
    assert 0 <= file._link.database.execute("PRAGMA busy_timeout").fetchone()[0] <= 50
    with closing(sqlite3.connect(tmp_path / "scores.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        file.write({b"other": Score(2.0)}, Call(0))
        assert file.failures == 1
    assert file.read([b"key", b"other"]) == {b"key": Score(1.0)}


def test_those_who_find_damage_at_once_rename_one_file(tmp_path: Path) -> None:
    """The file that the first of them begins stays where it is, and keeps what all of them write."""
    path, users, rounds = tmp_path / "scores.db", 4, 10
    meeting = threading.Barrier(users)

    def use(user: int) -> None:
        file = ScoreStore(path, 1000)
        for turn in range(rounds):
            file.write({b"key": Score(1.0)})
            file.close()
            if meeting.wait() == 0:
                with path.open("r+b") as damaged:
                    damaged.write(os.urandom(4096))
            meeting.wait()
            for _ in range(3):  # the first attempts find the damage
                file.write({bytes([user, turn]): Score(float(turn))})
            meeting.wait()
            kept[user, turn] = file.read([bytes([other, turn]) for other in range(users)])
            meeting.wait()

    kept: dict[tuple[int, int], dict[bytes, Score]] = {}
    with ThreadPoolExecutor(users) as pool:
        list(pool.map(use, range(users)))
    assert {len(scores) for scores in kept.values()} == {users}
    assert len(list(tmp_path.glob("*.damaged-*"))) == rounds


def test_a_file_that_another_one_began_meanwhile_is_not_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of a damaged file and its renaming nobody else renames it and begins another."""
    path, check, found = tmp_path / "scores.db", score_store.is_sound, []
    path.write_bytes(b"no database at all" * 100)
    one, other = ScoreStore(path, 9), ScoreStore(path, 9)

    def check_slowly(path: Path, wait_seconds: float) -> bool:
        sound = check(path, wait_seconds)
        monkeypatch.setattr(score_store, "is_sound", check)
        for _ in range(2):
            other.write({b"key": Score(1.0)}, Call(50))
        found.append(other.read([b"key"], Call(50)))
        return sound

    monkeypatch.setattr(score_store, "is_sound", check_slowly)
    one.read([b"key"])
    assert [ScoreStore(path, 9).read([b"key"])] == found
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1

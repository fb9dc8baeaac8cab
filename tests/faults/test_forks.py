"""A fork while another thread of the process holds a lock: the child goes on with locks and connections of its own."""

import gc
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from secondpass.engines.tokens import TokenCache
from secondpass.logs import RepeatedWarnings
from secondpass.processes import CallThreads, ForkLock, _end, renew_in_child
from secondpass.records import Pair, Score
from secondpass.scorers import score_store
from secondpass.scorers.fallback import Fallback
from secondpass.scorers.score_store import ScoreStore
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.named import LoadedModels, LoadKey
from secondpass.scoring.scorer import OverlapScorer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """Have another thread hold a lock."""
    acquired, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            acquired.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    acquired.wait()
    try:
        yield
    finally:
        release.set()
        thread.join()


@contextmanager
def held_off(lock: ForkLock) -> Iterator[None]:
    """Check that another thread can't have a lock."""
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(lock.acquire, 0).result()
        yield


def works_in_child(work: Callable[[], object]) -> bool:
    """Fork, and return whether the child does some work within a minute."""
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def test_warnings() -> None:
    """The child can log what the parent's thread is logging."""
    warnings = RepeatedWarnings()
    with held(warnings._lock):
        assert works_in_child(lambda: warnings.warn("kind", "a warning"))


def test_kept_tokens() -> None:
    """The child can tokenise while the parent's thread keeps tokens."""
    cache = TokenCache(Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    with held(cache._lock):
        assert works_in_child(lambda: cache.ids(["text"]))


def test_shared_models() -> None:
    """The child can ask for models while a thread of the parent does."""
    models = LoadedModels()
    with held(models._lock):
        assert works_in_child(lambda: models.ready(LoadKey("small")))


def test_threads_for_calls() -> None:
    """The child starts threads of its own, also where all of the parent's are busy."""
    threads = CallThreads("test", most=1)
    go_on = threading.Event()
    threads.submit(go_on.wait)
    with held(threads._changed):
        assert works_in_child(lambda: threads.submit(lambda: None).result())
    go_on.set()


def test_the_circuits_of_a_fallback() -> None:
    """The child asks the scorers while a thread of the parent notes an answer."""
    fallback = Fallback(OverlapScorer(), OverlapScorer())
    with held(fallback.circuits[0]._lock):
        assert works_in_child(lambda: fallback.score("query", ["text"]))


class LockedEngine(FakeEngine):
    """An engine that tokenises behind a lock, as torch's does."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def encode(self, pairs: Sequence[Pair]) -> Any:
        with self.lock:
            return super().encode(pairs)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        with self.lock:
            return super().count_tokens(texts)


def test_the_engines_own_locks() -> None:
    """The child counts tokens and scores with an engine of its own, and doesn't wait for the parent's."""
    engine = LockedEngine()
    scorer = CrossEncoder(engine, reopen=LockedEngine)
    with held(engine.lock):
        assert works_in_child(lambda: scorer.count_tokens(["a text"]))
        assert works_in_child(lambda: scorer.score("query", ["text"]))


def test_the_lock_of_a_scorer() -> None:
    """The child opens its engine while a thread of the parent looks for the parent's."""
    scorer = CrossEncoder(FakeEngine(), reopen=FakeEngine)
    with held(scorer._lock):
        assert works_in_child(lambda: scorer.score("query", ["text"]))


def test_the_workers_lock_at_the_childs_end() -> None:
    """Exit handlers and finalisers of the parent's worker don't wait for its lock."""
    scorer = CrossEncoder(FakeEngine(), reopen=FakeEngine)
    scorer.score("query", ["text"])
    queue = scorer._worker._queue
    with held(queue._changed):
        assert works_in_child(lambda: (_end(), queue.close()))


def test_a_host_may_call_the_childs_hook_alone(tmp_path: Path) -> None:
    """As uWSGI does: a child in whose parent a thread used the file leaves it alone."""
    file = ScoreStore(tmp_path / "scores.db", 100)
    file.write({b"key": Score(1.0)})
    connection = file._link
    with held(file._lock._lock):
        file._lock._renew()
    assert file.read([b"key"]) == {}
    file.close()
    assert file._link is None
    assert connection is not None
    assert connection.close.alive


def test_each_child_has_a_renewal_and_what_is_gone_has_none() -> None:
    """The registry keeps nothing alive; the parent isn't renewed."""

    class Renewed:
        """Counts its renewals."""

        renewals = 0

        def renew(self) -> None:
            """Count one."""
            self.renewals += 1

    kept, gone = Renewed(), Renewed()
    renew_in_child(kept, Renewed.renew)
    renew_in_child(gone, lambda _: os._exit(1))
    del gone
    gc.collect()
    assert works_in_child(lambda: os._exit(0 if kept.renewals == 1 else 1))
    assert kept.renewals == 0


def test_a_thread_that_forks_with_a_lock_keeps_it() -> None:
    """What is under way in the thread that forks goes on in both processes."""
    lock = ForkLock(waited=True)
    with lock:
        assert works_in_child(lock.release)
        with held_off(lock):
            pass


def test_threads_that_fork_at_once(tmp_path: Path) -> None:
    """Forks of several threads wait for each other, and for the cache's file, and none waits for ever."""
    files = [ScoreStore(tmp_path / f"{number}.db", 100) for number in range(2)]

    def use(number: int) -> bool:
        files[number].write({bytes([number]): Score(1.0)})
        return works_in_child(lambda: [file.read([b"key"]) for file in files])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, [0, 1] * 8))


def test_a_fork_while_the_file_is_opened_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's lock of another library isn't stopped for the fork before the thread that opens the file is done."""
    file = ScoreStore(tmp_path / "scores.db", 100)
    opening, connect = threading.Event(), score_store.connect

    def connect_slowly(path: Path, wait_seconds: float) -> sqlite3.Connection:
        opening.set()
        time.sleep(0.2)  # until the fork has begun
        return connect(path, wait_seconds)

    monkeypatch.setattr(score_store, "connect", connect_slowly)
    thread = threading.Thread(target=file.write, args=({b"key": Score(1.0)},))
    thread.start()
    opening.wait()

    def read() -> None:
        assert file.read([b"key"]) == {b"key": Score(1.0)}

    assert works_in_child(read)
    thread.join()

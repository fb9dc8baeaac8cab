"""A fork while another thread of the process holds a lock: the child goes on with locks of its own."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from fake_engine import FakeEngine
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from secondpass.logs import RepeatedWarnings
from secondpass.scores import Pair
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engines.tokens import TokenCache
from secondpass.scoring.shared import LoadKey, SharedModels
from secondpass.threads import CallThreads, _end

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


def works_in_child(work: Callable[[], object]) -> bool:
    """Fork, and return whether the child does some work within ten seconds."""
    child = os.fork()
    if not child:
        signal.alarm(10)  # ends a child that hangs
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
    models = SharedModels()
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
    with held(scorer._processes[os.getpid()].lock):
        assert works_in_child(lambda: scorer.score("query", ["text"]))


def test_the_workers_lock_at_the_childs_end() -> None:
    """Exit handlers and finalisers of the parent's worker don't wait for its lock."""
    scorer = CrossEncoder(FakeEngine(), reopen=FakeEngine)
    scorer.score("query", ["text"])
    queue = scorer._worker._queue
    with held(queue._changed):
        assert works_in_child(lambda: (_end(), queue.close()))

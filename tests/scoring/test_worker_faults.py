"""The worker when something goes wrong: threads that hang, end or can't be started, and errors of its own."""

import atexit
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fake_engine import ExpiresWhenBlocked, FakeEngine, blocked_engine

from secondpass import Call
from secondpass.errors import ScoringError
from secondpass.records import Pair, UnscoredReason
from secondpass.scoring.batches import BatchScheduler, Job
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Encoded
from secondpass.scoring.worker import Worker, WorkerSettings

PAIRS = [Pair("query", "two words"), Pair("query", "word")]


def job(engine: FakeEngine, *lengths: int, call: Call | None = None) -> Job:
    """Return a job of pairs with so many tokens."""
    return Job(engine, [Encoded(length, 0, {}) for length in lengths], call or Call())


def submit(worker: Worker, engine: FakeEngine, *lengths: int, call: Call | None = None) -> Job:
    """Queue a job of pairs with so many tokens."""
    new = job(engine, *lengths, call=call)
    worker.submit(new)
    return new


class BrokenCall(Call):
    """A call that raises on the worker's thread."""

    def stop_reason(self) -> UnscoredReason | None:
        if threading.current_thread().name.startswith("secondpass-"):
            raise ValueError("a broken clock")
        return None


@pytest.fixture
def blocked() -> Iterator[tuple[FakeEngine, Worker]]:
    """Yield an engine that is busy with a batch of one pair until ``unblock`` is set."""
    with blocked_engine(rows=64) as engine:
        worker = Worker("test")
        submit(worker, engine, 1)
        engine.blocked.wait()
        yield engine, worker


Blocked = tuple[FakeEngine, Worker]


# Threads that hang


def test_short_deadlines_replace_a_stuck_thread_too() -> None:
    """Where no call waits long enough to be asked twice, the one that leaves at its deadline looks at the thread."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine, limits=WorkerSettings(watchdog_seconds=0.0))
        scorer.score_pairs(PAIRS, call=ExpiresWhenBlocked(engine))
        assert scorer._worker.stuck == 1


def test_a_new_call_replaces_a_stuck_thread() -> None:
    """Also calls that return at once, since their deadline comes before their turn, look at the thread."""
    with blocked_engine() as engine:
        worker = Worker("test", WorkerSettings(watchdog_seconds=0.0))
        submit(worker, engine, 1)
        engine.blocked.wait()
        submit(worker, engine, 1, call=Call(deadline_ms=0))
        assert worker.stuck == 1


def test_a_stuck_thread_takes_only_its_own_batch_with_it() -> None:
    """After the caller of a batch that hangs has left, the calls that wait are worked on."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine, limits=WorkerSettings(watchdog_seconds=0.2))
        scorer.score_pairs(PAIRS, call=ExpiresWhenBlocked(engine))
        engine.block_after = None
        assert [outcome.value for outcome in scorer.score("query", ["a b c"])] == [3.0]  # type: ignore[union-attr]


def test_release_behind_a_batch_that_hangs_returns() -> None:
    """The watchdog gives the batch up, and the memory is freed by another thread."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine, limits=WorkerSettings(watchdog_seconds=0.2))
        submit(scorer._worker, engine, 1)
        engine.blocked.wait()
        scorer.release()
        assert (engine.released, scorer._worker.stuck) == (1, 1)


def test_a_release_that_hangs_is_given_up() -> None:
    """It raises, and the next call runs on another thread."""
    with blocked_engine(block_after=99) as engine:
        engine.release = engine.unblock.wait  # type: ignore[assignment, method-assign]
        scorer = CrossEncoder(engine, limits=WorkerSettings(watchdog_seconds=0.1))
        with pytest.raises(ScoringError, match=r"one release took more than 0\.1 s"):
            scorer.release()
        assert len(scorer.score("query", ["text"])) == 1


# Threads that end or can't be started


def no_thread(thread: threading.Thread) -> None:
    """Raise what Python does where the system has no more threads."""
    raise RuntimeError("can't start new thread")


def test_a_thread_that_can_not_be_started_fails_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call raises and leaves nothing in the queue; the next one starts the thread."""
    engine = FakeEngine()
    scorer = CrossEncoder(engine)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for action in (lambda: scorer.score_pairs(PAIRS), scorer.release):
            with pytest.raises(ScoringError, match="can't be started: can't start new thread"):
                action()
    scorer.score("query", ["a b c"])
    assert (engine.batches, engine.released) == ([[3]], 0)


def test_calls_fail_where_a_stuck_thread_can_not_be_replaced(blocked: Blocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for a thread that isn't there."""
    engine, worker = blocked
    waiting = submit(worker, engine, 5)
    worker._queue._settings = WorkerSettings(watchdog_seconds=0.0)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    worker.check()
    with pytest.raises(ScoringError, match="can't be started"):
        waiting.done.result(timeout=0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its call fails, and the next ones are worked on: who waits looks whether the thread is alive."""

    def end(*_: object) -> None:
        raise SystemExit

    scorer = CrossEncoder(FakeEngine())
    with monkeypatch.context() as patch:
        patch.setattr(scorer._worker._queue, "_recover", end)
        with pytest.raises(ScoringError, match="has ended"):
            scorer.score_pairs(PAIRS, call=BrokenCall())
    assert len(scorer.score_pairs(PAIRS).outcomes) == 2


# Errors of the worker's own


def test_an_error_in_planning_fails_its_own_call(blocked: Blocked) -> None:
    """The call that the worker can't plan raises with the cause, and the others are scored."""
    engine, worker = blocked
    bad, good = submit(worker, engine, 5, call=BrokenCall()), submit(worker, engine, 6)
    engine.unblock.set()
    good.done.result(timeout=30)
    with pytest.raises(ScoringError, match="the worker failed: ValueError: a broken clock") as caught:
        bad.done.result(timeout=30)
    assert isinstance(caught.value.__cause__, ValueError)
    assert good.rows == [[6.0]]


def test_an_error_after_a_batch_fails_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cost of a batch can't be noted, its call raises instead of waiting for ever."""
    scorer = CrossEncoder(FakeEngine())

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(scorer._worker._queue._turns, "learn", fail)
    with pytest.raises(ScoringError, match="the worker failed: ZeroDivisionError"):
        scorer.score_pairs(PAIRS)


class UnhashableEngine(FakeEngine):
    """An engine that defines equality, as a dataclass does."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


def test_an_engine_need_not_be_hashable() -> None:
    """An engine of one's own may be a dataclass."""
    assert len(CrossEncoder(UnhashableEngine()).score_pairs(PAIRS).outcomes) == 2


class FixedCall(Call):
    """A call with a fixed time left: a little less than 3 times 0.606, and divided by that exactly 3."""

    @property
    def remaining(self) -> float:
        return 1.8179999999999998


def test_rounding_leaves_no_empty_batch() -> None:
    """A batch that is just too expensive is cut, and what remains of it has at least one pair."""
    turns = BatchScheduler()
    turns.token_seconds["fake"] = 0.606
    new = job(FakeEngine(), 1, 1, 1, call=FixedCall(deadline_ms=60_000))
    turns.add(new)
    assert turns.next_batch() == [(new, [0, 1])]
    assert list(new.plan) == [[2]]


def test_a_batch_that_failed_is_no_measure_of_cost() -> None:
    """An engine that fails at once would seem to be fast."""
    scorer = CrossEncoder(FakeEngine(error=ScoringError("broken")))
    with pytest.raises(ScoringError, match="broken"):
        scorer.score_pairs(PAIRS)
    assert scorer._worker._queue._turns.token_seconds == {}


class Tensor:
    """Memory of a batch."""


class FailsTogether(FakeEngine):
    """Fails on batches of several pairs, and notes how many tensors of earlier batches are alive."""

    def __init__(self) -> None:
        super().__init__(rows=64, block_after=0)
        self.tensors: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.alive: list[int] = []

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        self.alive.append(len(self.tensors))
        tensor = Tensor()
        self.tensors.add(tensor)
        if len(batch) > 1:
            raise ScoringError("together")
        return super().forward(batch)


def test_calls_run_again_without_the_tensors_of_the_batch_that_failed() -> None:
    """The memory of a merged batch is free before each of its calls runs alone."""
    engine, worker = FailsTogether(), Worker("test")
    jobs = [submit(worker, engine, 1)]
    engine.blocked.wait()
    jobs += [submit(worker, engine, 5), submit(worker, engine, 5)]
    engine.unblock.set()
    for it in jobs:
        it.done.result(timeout=30)
    assert engine.alive == [0, 0, 0, 0]


# Deadlines and merging


@pytest.mark.parametrize(("seconds", "batches"), [(12, [[1], [5, 5], [5]]), (3600, [[1], [5, 5, 5]])])
def test_merging_keeps_the_deadline_of_the_call_whose_turn_it_is(
    blocked: Blocked, seconds: int, batches: list[list[int]]
) -> None:
    """Other calls' pairs are only added as far as the batch is likely to end in time; here a token takes a second."""
    engine, worker = blocked
    jobs = [submit(worker, engine, 5, 5, call=Call(1000 * seconds)), submit(worker, engine, 5)]
    worker._queue._turns.learn = lambda *_: None  # type: ignore[method-assign]
    worker._queue._turns.token_seconds["fake"] = 1.0
    engine.unblock.set()
    for it in jobs:
        it.done.result(timeout=30)
    assert engine.batches == batches


def test_calls_that_will_be_merged_are_one_batch_to_wait_for(blocked: Blocked) -> None:
    """A call isn't sent away because of many small calls before it, which take the time of one."""
    engine, worker = blocked
    for _ in range(10):
        submit(worker, engine, 5)
    worker._queue._turns.batch_seconds = 20.0
    late = submit(worker, engine, 5, call=Call(deadline_ms=60_000))
    assert not late.done.done()
    engine.unblock.set()
    late.done.result(timeout=30)
    assert late.rows == [[5.0]]


def test_a_cancelled_call_is_merged_with_no_other(blocked: Blocked) -> None:
    """A cancelled call behind another one isn't put into its batch."""
    engine, worker = blocked
    call = Call()
    other, gone = submit(worker, engine, 6), submit(worker, engine, 5, call=call)
    call.cancel()
    engine.unblock.set()
    for it in (other, gone):
        it.done.result(timeout=30)
    assert engine.batches == [[1], [6]]


def test_an_interrupted_caller_leaves_nothing_in_the_queue() -> None:
    """After Ctrl-C in a call, no batch of it runs after the one in progress."""

    class Interrupted(Call):
        @property
        def wait_seconds(self) -> float:
            engine.blocked.wait()
            raise KeyboardInterrupt

    with blocked_engine(rows=1) as engine:
        scorer = CrossEncoder(engine)
        with pytest.raises(KeyboardInterrupt):
            scorer.score_pairs(PAIRS, call=Interrupted())
        engine.unblock.set()
        scorer.score("query", ["a b c"])
    assert engine.batches == [[2], [3]]


# The end


def test_a_closed_worker_refuses_calls_and_fails_those_that_wait(blocked: Blocked) -> None:
    """As in an exit handler that runs after the worker's: a call raises instead of waiting for ever."""
    engine, worker = blocked
    waiting = submit(worker, engine, 5)
    worker._queue.close()
    actions: list[Any] = [waiting.done.result, lambda: submit(worker, engine, 5), lambda: worker.run(engine.release)]
    for action in actions:
        with pytest.raises(ScoringError, match="secondpass-test is closed"):
            action()


def test_workers_share_one_exit_handler() -> None:
    """A process that loads many models in turn doesn't gather handlers."""
    Worker("test")
    before = atexit._ncallbacks()
    for _ in range(10):
        Worker("test")
    assert atexit._ncallbacks() == before


def test_a_lock_that_is_never_free_does_not_block_a_finaliser(blocked: Blocked) -> None:
    """A finaliser may run on a thread that another one waits for: it gives up after a moment."""
    _, worker = blocked
    done = threading.Event()
    with worker._queue._changed:
        threading.Thread(target=lambda: (worker._queue.close(), done.set()), daemon=True).start()
        assert done.wait(30)

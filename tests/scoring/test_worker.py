"""The worker: one batch after the other, with a look at the caller's patience in between."""

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from secondpass.errors import ConfigurationError, OutOfMemory, ScoringError
from secondpass.scores import LOGIT, Call, Pair, Spec, UnscoredReason
from secondpass.scoring.batching import BatchLimits
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.devices import Placement
from secondpass.scoring.engine import Encoded, EngineFacts
from secondpass.scoring.heads import Head
from secondpass.scoring.worker import DEADLINE_BLOCK, Job, Worker


@dataclass
class CountingEngine:
    """An engine whose scores are lengths, with room for so many rows, that tells what it was given."""

    room: int = 1000
    rows: int = 4
    before: Callable[[], None] = lambda: None
    batches: list[list[int]] = field(default_factory=list)

    @property
    def facts(self) -> EngineFacts:
        """Four rows a batch."""
        placement = Placement("cpu", "float32", BatchLimits(10_000, self.rows), "a test")
        return EngineFacts(Spec("counting", LOGIT, "counting"), Head(1, 0, LOGIT), placement, "counting")

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Take characters for tokens."""
        return [Encoded(len(pair.text), 0, {}) for pair in pairs]

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Score with the length, if there is room."""
        self.before()
        if len(batch) > self.room:
            raise OutOfMemory(f"no room for {len(batch)}")
        self.batches.append([item.length for item in batch])
        return [[float(item.length)] for item in batch]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Take characters for tokens."""
        return [len(text) for text in texts]

    def release(self) -> None:
        """Hold nothing."""


def encoded(*lengths: int) -> list[Encoded]:
    """Return tokenised pairs of these lengths."""
    return [Encoded(length, 0, {}) for length in lengths]


def test_rows_come_back_in_the_order_of_the_job() -> None:
    """Batches run longest first, the answer is in the order that was asked."""
    engine = CountingEngine(rows=2)
    done = Worker("test").submit(Job(engine, encoded(3, 9, 1, 5), Call())).result()
    assert engine.batches == [[9, 5], [3, 1]]
    assert done.rows == [[3.0], [9.0], [1.0], [5.0]]


def test_a_call_cancelled_in_the_middle_stops_after_its_batch() -> None:
    """The batch in flight is finished, nothing after it is begun, and the rest says why."""
    call = Call()
    engine = CountingEngine(rows=1, before=call.cancel)
    done = Worker("test").submit(Job(engine, encoded(5, 4, 3), call)).result()
    assert done.rows == [[5.0], UnscoredReason.CANCELLED, UnscoredReason.CANCELLED]


def test_with_a_deadline_the_first_pairs_are_scored_first() -> None:
    """A finite deadline makes blocks in first-stage order, so that what is left out is the tail."""
    engine = CountingEngine(rows=DEADLINE_BLOCK)
    lengths = [1] * DEADLINE_BLOCK + [100] * DEADLINE_BLOCK
    Worker("test").submit(Job(engine, encoded(*lengths), Call(deadline_ms=60_000))).result()
    assert engine.batches == [[1] * DEADLINE_BLOCK, [100] * DEADLINE_BLOCK]


def test_a_batch_without_room_is_halved_until_it_fits() -> None:
    """Out of memory costs a second try and no candidate."""
    engine = CountingEngine(room=1)
    done = Worker("test").submit(Job(engine, encoded(4, 3, 2, 1), Call())).result()
    assert done.rows == [[4.0], [3.0], [2.0], [1.0]]
    assert (done.batches, done.halved) == (4, 3)


def test_a_single_pair_without_room_is_a_failure() -> None:
    """Halving has a floor: one pair that doesn't fit is an error, not a loop."""
    with pytest.raises(OutOfMemory):
        Worker("test").submit(Job(CountingEngine(room=0), encoded(4, 3), Call())).result()


def test_a_worker_outlives_a_failed_job() -> None:
    """After a failure the same thread takes the next job."""
    worker = Worker("test")
    failed = worker.submit(Job(CountingEngine(room=0), encoded(1), Call()))
    assert isinstance(failed.exception(), ScoringError)
    assert worker.submit(Job(CountingEngine(), encoded(2), Call())).result().rows == [[2.0]]


def test_a_fork_is_refused_rather_than_hung() -> None:
    """In a forked child the worker's thread doesn't exist, and using it says so."""
    scorer = CrossEncoder(CountingEngine())
    scorer.score("q", ["a"])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            scorer.score("q", ["a"])
        except ConfigurationError as error:
            answers.put(str(error))

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert "forked after it was loaded" in answers.get()

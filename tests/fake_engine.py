"""An engine without a model for tests: fails, runs out of memory, or blocks on request."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from secondpass import Call
from secondpass.errors import OutOfMemory, ScoringError
from secondpass.records import LOGIT, Pair, Spec, UnscoredReason
from secondpass.scoring.engine import BatchLimits, Encoded, EngineFacts, Head, Placement


class FakeEngine:
    """Gives each pair the number of its text's words, and records each batch.

    :param rows: The limit of a batch in pairs.
    :param memory: The pairs that fit into the device's memory; larger batches raise ``OutOfMemory``.
    :param error: Raised by every forward pass.
    :param call: A call that is cancelled after the first batch.
    :param block_after: The number of batches after which the next one blocks until ``unblock`` is set; None for never.
    """

    def __init__(
        self,
        *,
        rows: int = 4,
        memory: int | None = None,
        error: Exception | None = None,
        call: Call | None = None,
        block_after: int | None = None,
    ) -> None:
        placement = Placement("cpu", "float32", BatchLimits(10_000, rows), "for a test")
        self.facts = EngineFacts(Spec("fake", LOGIT, "fake"), Head(1, 0, LOGIT), placement, "fake")
        self.memory = memory
        self.error = error
        self.call = call
        self.block_after = block_after
        self.fails_on: int | None = None  # the length of pairs that fail
        self.blocked = threading.Event()
        self.unblock = threading.Event()
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.released = 0

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        return [Encoded(len(pair.text.split()), 0, {}) for pair in pairs]

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        self.threads.add(threading.current_thread().name)
        if self.error:
            raise self.error
        if self.fails_on in [item.length for item in batch]:
            raise ScoringError(f"a pair of {self.fails_on} tokens")
        if self.memory is not None and len(batch) > self.memory:
            raise OutOfMemory(f"no memory for {len(batch)} pairs")
        if len(self.batches) == self.block_after:
            self.blocked.set()
            self.unblock.wait()
        self.batches.append([item.length for item in batch])
        if self.call:
            self.call.cancel()
        return [[float(item.length)] for item in batch]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def release(self) -> None:
        self.released += 1


class ExpiresWhenBlocked(Call):
    """A call whose time is up as soon as the engine is blocked, so that no test depends on a clock.

    :param engine: The engine.
    """

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__(deadline_ms=3_600_000)
        self._engine = engine

    @property
    def remaining(self) -> float:
        return 0.0 if self._engine.blocked.is_set() else 3600.0

    @property
    def wait_seconds(self) -> float:
        self._engine.blocked.wait()
        return 0.0

    def stop_reason(self) -> UnscoredReason | None:
        return UnscoredReason.DEADLINE if self._engine.blocked.is_set() else super().stop_reason()


@contextmanager
def blocked_engine(*, rows: int = 4, block_after: int = 0) -> Iterator[FakeEngine]:
    """Yield an engine that blocks after some batches, and let it go on at the end, since its thread must end."""
    engine = FakeEngine(rows=rows, block_after=block_after)
    try:
        yield engine
    finally:
        engine.unblock.set()

"""An engine without a model: what a pair is worth is its length, and it breaks down when it is told to."""

import threading
from collections.abc import Sequence

from secondpass import Call
from secondpass.errors import OutOfMemory
from secondpass.scores import LOGIT, Pair, Spec
from secondpass.scoring.batching import BatchLimits
from secondpass.scoring.engines.base import Encoded, EngineFacts
from secondpass.scoring.hardware import Placement
from secondpass.scoring.heads import Head


class FakeEngine:
    """Gives each pair the number of its text's words, and notes each batch.

    :param rows: The most pairs of a batch.
    :param room: The most pairs that "the memory" holds; more of them are out of memory.
    :param error: What every forward pass raises.
    :param call: A call that is cancelled after the first batch.
    """

    def __init__(
        self, *, rows: int = 4, room: int | None = None, error: Exception | None = None, call: Call | None = None
    ) -> None:
        placement = Placement("cpu", "float32", BatchLimits(10_000, rows), "for a test")
        self.facts = EngineFacts(Spec("fake", LOGIT, "fake"), Head(1, 0, LOGIT), placement, "fake")
        self.room = room
        self.error = error
        self.call = call
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.released = 0

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        return [Encoded(len(pair.text.split()), 0, {}) for pair in pairs]

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        self.threads.add(threading.current_thread().name)
        if self.error:
            raise self.error
        if self.room is not None and len(batch) > self.room:
            raise OutOfMemory(f"no room for {len(batch)} pairs")
        self.batches.append([item.length for item in batch])
        if self.call:
            self.call.cancel()
        return [[float(item.length)] for item in batch]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def release(self) -> None:
        self.released += 1

"""An engine that is slow, fails, hangs, gives NaN or runs out of memory, by chance."""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from secondpass.errors import OutOfMemory, ScoringError
from secondpass.records import LOGIT, Pair, Spec
from secondpass.scoring.engine import BatchLimits, Encoded, EngineFacts, Head, Placement


@dataclass(frozen=True, slots=True)
class Faults:
    """How often a batch has which fault, as shares of batches.

    :param slow: It takes 20 ms.
    :param fails: It raises ``ScoringError``.
    :param hangs: It takes 3 seconds, longer than the watchdog of these tests allows.
    :param nan: Its first pair gets NaN.
    :param no_memory: It raises ``OutOfMemory`` if it has more than one pair.
    """

    slow: float = 0.05
    fails: float = 0.01
    hangs: float = 0.0005
    nan: float = 0.02
    no_memory: float = 0.02


class FaultyEngine:
    """Scores a pair by the length of its text, and has faults.

    :param faults: Their shares.
    :param seed: Of the random numbers.
    """

    HANGS_SECONDS = 3.0

    def __init__(self, faults: Faults, seed: int = 0) -> None:
        placement = Placement("cpu", "float32", BatchLimits(256), "for a test")
        self.facts = EngineFacts(Spec("faulty", LOGIT, "faulty"), Head(1, 0, LOGIT), placement, "faulty")
        self._faults = faults
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.happened: dict[str, int] = dict.fromkeys(Faults.__slots__, 0)

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        return [Encoded(1 + len(pair.text) // 4, 0, {"value": len(pair.text)}) for pair in pairs]

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        faults = {name for name in Faults.__slots__ if self._draw(name)}
        rows = [[float(item.features["value"])] for item in batch]
        if "hangs" in faults:
            time.sleep(self.HANGS_SECONDS)
        if "slow" in faults:
            time.sleep(0.02)
        if "fails" in faults:
            raise ScoringError("a fault")
        if "no_memory" in faults and len(batch) > 1:
            raise OutOfMemory("a fault")
        if "nan" in faults:
            rows[0] = [float("nan")]
        return rows

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // 4 for text in texts]

    def release(self) -> None:
        pass

    def _draw(self, fault: str) -> bool:
        with self._lock:
            happens = self._random.random() < getattr(self._faults, fault)
            self.happened[fault] += happens
            return happens

"""One model on several devices: a queue of pairs, from which each device takes when it is free."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from secondpass.errors import ConfigurationError, OutOfMemory, QueueFull, ScoringError, checked
from secondpass.logs import REPEATED_WARNINGS
from secondpass.processes import CallThreads, ForkLock
from secondpass.records import Call, Note, Pair, Score, Scored, Spec, Stage, Unscored
from secondpass.scoring.scorer import (
    ComposedScorer,
    Scorer,
    count_tokens,
    has_score,
    release_memory,
    score_checked,
    warm_up,
)

CHUNK_PAIRS = (128, 1024)
"""At least, and at most, in a part of a call that one device scores."""
_CHUNKS_PER_DEVICE = 4  # so that a slow one doesn't hold up the others at the end
_AT_ONCE = 2  # chunks of a call on one device: the second is tokenised while the first is scored
REST_SECONDS = 30.0
"""How long a device that failed isn't asked."""
_SUMMED = ("batches", "merged", "halved", "tokens", "padded_tokens", "truncated_pairs")


@checked
class Devices(ComposedScorer):
    """Scores a call's pairs on several devices, each with its own copy of the model, its own worker and thread.

    What fails on one device is scored again on another. If it succeeds there, the first one rests for 30 s or until the
    next ``warmup()``, but never the last one; the report names it and its error. What fails on all of them is the
    call's own failure.

    :param scorers: One for each device, of equal fingerprints.
    :param names: The devices' names, for the report.
    :raises ConfigurationError: If there is none, or their scores are not comparable.
    """

    def __init__(self, scorers: Sequence[Scorer], names: Sequence[str]) -> None:
        super().__init__(scorers, "a model on several devices needs a scorer for each")
        if len({scorer.spec.fingerprint for scorer in scorers}) > 1 or len(names) != len(scorers):
            raise ConfigurationError(
                f"the scorers of {', '.join(names)} need a name each, and one model, dtype and length: say dtype= "
                "where the GPUs choose different ones"
            )
        self.names = tuple(names)
        self._resting: dict[int, tuple[float, str]] = {}  # until when, and the error, by device
        self._lock = ForkLock()
        self._calls = Counter[int]()  # in progress, by device
        self._threads = CallThreads("secondpass-devices")

    def __repr__(self) -> str:
        """Return model and devices."""
        return f"Devices({self.spec.name!r}, {', '.join(self.names)})"

    @property
    def spec(self) -> Spec:
        """The model's specification."""
        return self.scorers[0].spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If a part of the pairs failed on each device.
        """
        call, started = call or Call(), time.perf_counter()
        order = sorted(self.usable(), key=lambda device: self._calls[device])
        work = _Work(self, pairs, order)
        try:
            if work.chunks <= 1:
                for device in order:  # one after the other: the next ones only where it fails
                    self._serve(device, work, call)
            else:
                lanes = (order * _AT_ONCE)[: max(len(order), work.chunks)]
                for future in [self._threads.submit(partial(self._serve, device, work, call)) for device in lanes]:
                    future.result()
        except BaseException:
            call.cancel()  # a bug, or the caller was interrupted
            work.abort(ScoringError("the call was interrupted"))
            raise
        stage = Stage("score", time.perf_counter() - started, self._facts(work))
        return Scored(work.outcomes(), self.spec, (stage,), work.notes())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return count_tokens(self.scorers[0], texts)

    def warmup(self) -> None:
        """Warm up all devices, those that have failed too; those that fail now aren't used.

        :raises ScoringError: If all fail.
        """
        self._resting = {}
        for number, scorer in enumerate(self.scorers):
            try:
                warm_up(scorer)
            except ScoringError as error:
                if not self.take_out(number, error):
                    self._resting = {}
                    raise

    def release(self) -> None:
        """Free the memory of every device that works."""
        for number in self.usable():
            release_memory(self.scorers[number])

    @property
    def failed(self) -> dict[str, str]:
        """The errors of the devices that rest, by name."""
        return {
            self.names[device]: error for device, (until, error) in self._resting.copy().items() if _is_ahead(until)
        }

    def take_out(self, device: int, error: ScoringError) -> bool:
        """Let a device rest, and return whether it may: not where all others do."""
        with self._lock:
            may = bool(set(self.names) - {self.names[device], *self.failed})
            if may:
                self._resting[device] = (time.monotonic() + REST_SECONDS, str(error))
        if may:
            what = (type(error).__name__, REST_SECONDS)
            REPEATED_WARNINGS.warn(
                (self.spec.name, device), "%s has failed (%s) and rests for %g s", self.names[device], *what
            )
        return may

    def usable(self) -> list[int]:
        """Return the numbers of the devices that don't rest, one at least."""
        return [number for number, name in enumerate(self.names) if name not in self.failed]

    def _serve(self, device: int, work: "_Work", call: Call) -> None:
        """Score chunks on a device until none is left, or one fails there."""
        with self._lock:
            self._calls[device] += 1
        try:
            while (chunk := work.take(device)) is not None:
                try:
                    scored = score_checked(self.scorers[device], work.pairs_of(chunk), call)
                except ScoringError as error:
                    work.fail(device, chunk, error)
                else:
                    work.finish(device, chunk, scored)
        except BaseException as error:
            work.abort(error)
            raise
        finally:
            with self._lock:
                self._calls[device] -= 1

    def _facts(self, work: "_Work") -> dict[str, object]:
        stages = (scored.stages[-1] for scored in work.results.values() if scored.stages)
        facts: list[Mapping[str, Any]] = [stage.facts for stage in stages]
        summed = {name: sum(own.get(name, 0) for own in facts) for name in _SUMMED}
        pairs = {self.names[device]: count for device, count in sorted(work.pairs_by.items())}
        return {
            **(facts[-1] if facts else {}),
            **summed,
            "device": ", ".join(pairs),
            "pairs": len(work.pairs),
            "device_pairs": pairs,
            "failed_devices": dict(self.failed),
        }


def _is_ahead(moment: float) -> bool:
    return time.monotonic() < moment


class _Work:
    """The pairs of one call, in chunks that devices take; safe across threads.

    :param devices: The devices.
    :param pairs: The pairs.
    :param usable: The numbers of the devices that may be asked.
    """

    def __init__(self, devices: Devices, pairs: Sequence[Pair], usable: Sequence[int]) -> None:
        self._devices = devices
        self._changed = threading.Condition()
        self.pairs = pairs
        self._usable = set(usable)
        least, most = CHUNK_PAIRS
        self._step = min(most, max(least, -(-len(pairs) // (_CHUNKS_PER_DEVICE * len(self._usable)))))
        starts = range(0, max(1, len(pairs)), self._step)  # without pairs the report names model and device, too
        self.chunks = len(starts)
        self._waiting = deque(starts)
        self._left = self.chunks
        self._errors: dict[int, dict[int, ScoringError]] = {}  # by chunk and device
        self._suspended: set[int] = set()  # devices on which a chunk failed: they take no more in this call
        self._error: BaseException | None = None
        self.results: dict[int, Scored] = {}
        self.pairs_by = Counter[int]()

    def pairs_of(self, start: int) -> Sequence[Pair]:
        """Return a chunk's pairs."""
        return self.pairs[start : start + self._step]

    def take(self, device: int) -> int | None:
        """Wait for a chunk for a device, and return its first position; None if there is no more for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended_for(device))
            return None if self._ended_for(device) else self._waiting.popleft()

    def finish(self, device: int, start: int, scored: Scored) -> None:
        """Note a chunk's outcomes; the devices on which it failed before are taken out."""
        with self._changed:
            self.results[start] = scored
            self.pairs_by[device] += len(scored.outcomes)
            self._left -= 1
            for other, error in self._errors.get(start, {}).items():
                if has_score(scored.outcomes) and not isinstance(error, QueueFull | OutOfMemory):
                    self._devices.take_out(other, error)
            self._changed.notify_all()

    def fail(self, device: int, start: int, error: ScoringError) -> None:
        """Put a chunk that failed on one device first in the queue for the others; if there are none, give up."""
        with self._changed:
            self._errors.setdefault(start, {})[device] = error
            self._suspended.add(device)
            self._waiting.appendleft(start)
            if self._suspended >= self._usable:
                self._error = self._error or error
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """End the work of all devices."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def outcomes(self) -> tuple[Score | Unscored, ...]:
        """Return the outcomes of all pairs.

        :raises ScoringError: If a chunk failed on each device.
        """
        if self._error:
            raise self._error
        return tuple(outcome for start in sorted(self.results) for outcome in self.results[start].outcomes)

    def notes(self) -> tuple[Note, ...]:
        """Return the notes of all chunks."""
        return tuple(note for start in sorted(self.results) for note in self.results[start].notes)

    def _ended_for(self, device: int) -> bool:
        return not self._left or self._error is not None or device in self._suspended

"""The cross-encoder scorer: tokenise, batch by tokens, run the engine, restore the order."""

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Any, NoReturn, Self

from secondpass.errors import ConfigurationError, check_list
from secondpass.processes import ForkLock
from secondpass.records import Call, Pair, Score, Scored, Spec, Stage, Unscored, UnscoredReason, as_call
from secondpass.scoring.batches import DEADLINE_BLOCK, Job
from secondpass.scoring.engine import Encoded, Engine
from secondpass.scoring.reading import PairReader, count_tokens
from secondpass.scoring.scorer import BaseScorer, refuse_pickling
from secondpass.scoring.worker import Worker, WorkerSettings

OVERLAPPED_PAIRS = 1024
"""Pairs that are tokenised at once for a GPU, while it works on the pairs before."""
ENCODING_BLOCK = 64
"""How many pairs are tokenised before a call without a deadline looks whether it was cancelled."""


class CrossEncoder(BaseScorer):
    """Scores pairs with a model that reads query and text together. Safe to share between threads.

    Copies, shallow and deep, are the scorer itself.

    :param engine: Runs the model.
    :param worker: The thread on which the engine runs; None creates one.
    :param reopen: Opens the engine again in a forked process, which has no threads; None raises there.
    :param limits: The limits of a worker that is created here; None takes the default.
    """

    def __init__(
        self,
        engine: Engine,
        worker: Worker | None = None,
        reopen: Callable[[], Engine] | None = None,
        limits: WorkerSettings | None = None,
    ) -> None:
        self._engine = engine
        self._reopen = reopen
        self._limits = limits
        self._lock = ForkLock()
        self._opened = (os.getpid(), engine, worker or Worker(engine.facts.placement.device, limits))

    def __repr__(self) -> str:
        """Return model, engine, device and dtype."""
        facts = self._engine.facts
        return f"CrossEncoder({facts.spec.name!r}, {facts.engine}, {facts.placement.device}, {facts.placement.dtype})"

    def __copy__(self) -> Self:
        """Share the scorer."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the scorer: frameworks copy their components, and a model is large."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        :raises ConfigurationError: Always.
        """
        refuse_pickling("a loaded model")

    @property
    def _worker(self) -> Worker:
        return self._here()[1]

    @property
    def spec(self) -> Spec:
        """The specification of model and engine."""
        return self._engine.facts.spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        At the call's deadline it returns what is scored by then, also while the engine is still busy, with this call
        or with another.

        :raises ScoringError: If the engine failed.
        :raises ModelError: If the model's output has the wrong shape.
        """
        check_list(pairs, "score_pairs takes a list of pairs")
        call = as_call(call)
        engine, worker = self._here()
        started = time.perf_counter()
        once = list(dict.fromkeys(pairs))  # identical pairs are scored once
        jobs, read, tokenising, reason = _run(engine, worker, once, call, (self._limits or WorkerSettings()).max_pairs)
        stopped = reason or call.stop_reason() or UnscoredReason.FAILED
        rows = iter([row for job in jobs for row in job.rows])
        outcomes = [item if isinstance(item, Unscored) else self._outcome(next(rows), item, stopped) for item in read]
        outcomes += [Unscored(stopped)] * (len(once) - len(outcomes))
        facts = self._facts(jobs) | {
            "pairs": len(pairs),
            "repeated_pairs": len(pairs) - len(once),
            "tokenise_seconds": round(tokenising, 6),
        }
        if len(once) < len(pairs):
            of_pair = dict(zip(once, outcomes, strict=True))
            outcomes = [of_pair[pair] for pair in pairs]
        return Scored(tuple(outcomes), self.spec, (Stage("score", time.perf_counter() - started, facts),))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens."""
        check_list(texts, "count_tokens takes a list of texts")
        engine, _ = self._here()
        return count_tokens(engine, texts)

    def warmup(self) -> None:
        """Run the model once, so that the first query doesn't pay for its initialisation.

        On a GPU the memory that a token takes is measured, and decides the size of packed batches.
        """
        engine, worker = self._here()
        prepare = getattr(engine, "warmup", None)
        if prepare is not None:
            worker.run(prepare)
        self.score_pairs([Pair("warm", "up")])

    def release(self) -> None:
        """Free the model's memory after the jobs in the queue; the next call loads it again."""
        engine, worker = self._here()
        worker.run(engine.release)

    def _here(self) -> tuple[Engine, Worker]:
        """Return engine and worker of this process; a forked one opens its own.

        :raises ConfigurationError: In a forked process, where the engine can't be opened again.
        """
        if self._opened[0] != os.getpid():
            with self._lock:
                if self._opened[0] != os.getpid():
                    self._open_again()
        return self._opened[1:]

    def _open_again(self) -> None:
        if self._reopen is None:
            raise ConfigurationError(
                "a scorer can't be used in a process that was forked after it was created: create it there"
            )
        self._engine = self._reopen()
        self._opened = (os.getpid(), self._engine, Worker(self._engine.facts.placement.device, self._limits))

    def _outcome(self, row: list[float] | None, encoded: Encoded, stopped: UnscoredReason) -> Score | Unscored:
        if row is None:
            return Unscored(stopped)
        value = self._engine.facts.head.value(row)
        if not math.isfinite(value):
            return Unscored(UnscoredReason.INVALID, f"the model gave {value}")
        return Score(value, truncated=encoded.truncated, query_cut=encoded.query_cut)

    def _facts(self, jobs: Sequence[Job]) -> dict[str, object]:
        facts = self._engine.facts
        encoded = [item for job in jobs for item in job.encoded]
        return {
            "model": facts.spec.name,
            "engine": facts.engine,
            "device": facts.placement.device,
            "dtype": facts.placement.dtype,
            "placement": facts.placement.reason,
            "batch_invariant": facts.spec.batch_invariant,
            "batches": sum(job.batches for job in jobs),
            "merged": sum(job.merged for job in jobs),
            "halved": sum(job.halved for job in jobs),
            "tokens": sum(item.length for item in encoded),
            "padded_tokens": sum(job.padded for job in jobs),
            "truncated_pairs": sum(item.truncated > 0 for item in encoded),
            "queue_seconds": round(jobs[0].waited, 6),
            "forward_seconds": round(sum(job.seconds for job in jobs), 6),
        }


def _run(
    engine: Engine, worker: Worker, pairs: Sequence[Pair], call: Call, most: int
) -> tuple[list[Job], list[Encoded | Unscored], float, UnscoredReason | None]:
    """Tokenise and score pairs; on a GPU the next are tokenised while it works on those before.

    :param most: How many pairs may wait.
    :returns: The jobs, what was tokenised, the seconds of that, and why the last pairs are unscored, if they are.
    """
    overlaps = call.deadline is None and engine.facts.placement.device != "cpu"
    step = max(1, min(OVERLAPPED_PAIRS, most // 2) if overlaps else len(pairs))
    jobs: list[Job] = []
    read: list[Encoded | Unscored] = []
    seconds, reason, reader = 0.0, None, PairReader(engine, call)
    try:
        for start in range(0, max(1, len(pairs)), step):
            started = time.perf_counter()
            own = _read_in_time(reader, pairs[start : start + step], call)
            read += own
            jobs.append(Job(engine, [item for item in own if isinstance(item, Encoded)], call))
            seconds += time.perf_counter() - started
            if len(jobs) > 2:  # two wait at most: the queue is there for other calls too
                reason = reason or _wait(jobs[-3], worker)
            worker.submit(jobs[-1])
        for job in jobs[-2:]:
            reason = reason or _wait(job, worker)
    except BaseException:
        for job in jobs:
            worker.withdraw(job)  # it failed, or the caller was interrupted: stop after the batch in progress
        raise
    return jobs, read, seconds, reason


def _wait(job: Job, worker: Worker) -> UnscoredReason | None:
    """Wait for a job's end, or its call's, and return why it stopped early, if it did."""
    while not wait([job.done], timeout=job.call.wait_seconds).done:
        worker.check()
        reason = job.call.stop_reason()
        if reason:  # also while the engine hangs
            worker.withdraw(job)
            return reason
    job.done.result()
    return job.stopped


def _read_in_time(reader: PairReader, pairs: Sequence[Pair], call: Call) -> list[Encoded | Unscored]:
    """Tokenise the pairs until the call stops: long texts can take longer than the model."""
    block = ENCODING_BLOCK if call.deadline is None else DEADLINE_BLOCK
    read: list[Encoded | Unscored] = []
    while len(read) < len(pairs) and not call.stop_reason():
        read += reader.read(pairs[len(read) : len(read) + block])
    return read

"""The turns of a worker's jobs: whose batch is next, how large it may be, and which others are merged with it."""

import math
import time
from collections import deque

from secondpass.scoring.jobs import Job, Part

MERGING_WASTE = 1.25
"""Calls are merged while the common batch has at most so many times the padded tokens of their own batches."""
_SMOOTHING = 0.3  # of the moving averages of what a token and a batch cost


class BatchScheduler:
    """The jobs that wait, in the order of their turns, and what earlier batches cost. Not safe across threads.

    A job is outside while its batch is planned and runs, so that after an error it is known whose batch it was.

    :param token_seconds: Seconds of a padded token, by the engine's fingerprint.
    :param batch_seconds: Seconds of a batch.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self.token_seconds: dict[str, float] = {}
        self.batch_seconds = 0.0

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        """Return whether a job waits."""
        return job in self._jobs

    @property
    def pairs(self) -> int:
        """How many pairs wait."""
        return sum(len(batch) for job in self._jobs for batch in job.plan)

    @property
    def seconds_ahead(self) -> float:
        """How long a new job waits for its turn, at least: calls that may be merged are one batch."""
        batches = {id(job.engine if _may_be_merged(job) else job) for job in self._jobs}
        return len(batches) * self.batch_seconds

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        self._jobs.append(job)

    def remove(self, job: Job) -> None:
        """Take a job out.

        :raises ValueError: If it doesn't wait.
        """
        self._jobs.remove(job)

    def take_stopped(self) -> list[Job]:
        """Take out the jobs whose calls have been cancelled, or have come to their deadline."""
        stopped: list[Job] = []
        for _ in range(len(self._jobs)):
            job = self._jobs.popleft()
            job.stopped = job.call.stop_reason()
            (stopped if job.stopped else self._jobs).append(job)
        return stopped

    def next_batch(self) -> list[Part]:
        """Take out the job whose turn it is, with its next batch, and others whose next batches fit into that."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        batch = self._affordable(job)
        job.started_at = job.started_at or time.perf_counter()
        return self._merged(job, batch) if job.engine.facts.spec.batch_invariant else [(job, batch)]

    def learn(self, parts: list[Part], seconds: float) -> None:
        """Note what a batch cost."""
        key = _fingerprint(parts[0][0])
        cost = seconds / sum(job.padded_tokens(batch) for job, batch in parts)
        old = self.token_seconds.get(key, cost)
        self.token_seconds[key] = old + _SMOOTHING * (cost - old)
        self.batch_seconds += _SMOOTHING * (seconds - self.batch_seconds)

    def _affordable(self, job: Job) -> list[int]:
        """Return the job's next batch, with a deadline only as many pairs as it likely allows."""
        batch, remaining = job.plan.popleft(), job.call.remaining
        cost = self.token_seconds.get(_fingerprint(job), 0.0) * job.padded_tokens(batch) / len(batch)
        if remaining is None or cost * len(batch) <= remaining or len(batch) == 1:
            return batch
        rows = max(1, int(remaining / cost))  # one in any case: an estimate that is too high must be corrected
        rows = min(rows, len(batch) - 1)  # the division may round up to all of them
        first = sorted(batch)
        job.plan.appendleft(first[rows:])
        return first[:rows]

    def _merged(self, job: Job, batch: list[int]) -> list[Part]:
        """Add the next batches of other jobs of the engine while the common batch stays within its limits."""
        parts, rows, tokens = [(job, batch)], len(batch), job.padded_tokens(batch)
        length, limit = tokens // rows, min(job.limits.max_tokens, self._tokens_in_time(job))
        for other in [other for other in self._jobs if other.engine is job.engine and other.call.deadline is None]:
            theirs = other.plan[0]
            their_tokens = other.padded_tokens(theirs)
            longest = max(length, their_tokens // len(theirs))
            common = tokens + their_tokens if job.limits.packed else (rows + len(theirs)) * longest
            most = min(limit, MERGING_WASTE * (tokens + their_tokens))
            if common > most or rows + len(theirs) > (job.limits.max_rows or common):
                continue
            self._jobs.remove(other)
            other.plan.popleft()
            other.started_at = other.started_at or time.perf_counter()
            parts.append((other, theirs))
            rows, length, tokens = rows + len(theirs), longest, common
        return parts

    def _tokens_in_time(self, job: Job) -> float:
        """Return how many padded tokens its deadline allows; none where a token's cost isn't known yet."""
        remaining, cost = job.call.remaining, self.token_seconds.get(_fingerprint(job))
        if remaining is None:
            return math.inf
        return remaining / cost if cost else 0.0


def _may_be_merged(job: Job) -> bool:
    return job.engine.facts.spec.batch_invariant and job.call.deadline is None


def _fingerprint(job: Job) -> str:
    return job.engine.facts.spec.fingerprint

"""Observers for production: how often the first stage's best falls far, and a second reranker that only records."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from secondpass.errors import ConfigurationError, checked
from secondpass.logs import REPEATED_WARNINGS
from secondpass.processes import BackgroundQueue, ForkLock
from secondpass.ranking import FAR, Ranking
from secondpass.reranker import Reranker


@checked
class FallCounter:
    """Counts how often the first stage's best candidate falls below a rank. Give it as an observer.

    A share that rises says that the stages disagree more than they did: a model, an index or the questions changed.

    :param far: The rank below which it has fallen far.
    :param warn_share: Log a warning while the share of the last calls is above it; None never does.
    :param window: How many of the last calls the share is of.
    :raises ConfigurationError: If a setting is out of its range.
    """

    def __init__(self, far: int = FAR, *, warn_share: float | None = None, window: int = 1000) -> None:
        if far < 1 or window < 1 or not (warn_share is None or 0 < warn_share < 1):
            raise ConfigurationError(
                f"far and window must be 1 or more, and warn_share between 0 and 1, got {far!r}, {window!r}, "
                f"{warn_share!r}"
            )
        self.far = far
        self.calls = self.fallen = 0
        self._warn_share = warn_share
        self._last: deque[bool] = deque(maxlen=window)
        self._lock = ForkLock()

    def __call__(self, ranking: Ranking) -> None:
        """Count a ranking; one whose first candidate is neither scored nor pruned isn't counted."""
        rank = ranking.rank_of_top_hit
        if rank is None:
            return
        with self._lock:
            self.calls, self.fallen = self.calls + 1, self.fallen + (rank > self.far)
            self._last.append(rank > self.far)
            full, share = len(self._last) == self._last.maxlen, sum(self._last) / len(self._last)
        if self._warn_share is not None and full and share > self._warn_share:
            message = "in %.0f %% of the last %d calls the first stage's best fell below rank %d: run an evaluation"
            REPEATED_WARNINGS.warn("falls", message, 100 * share, len(self._last), self.far)

    @property
    def share(self) -> float | None:
        """The share of all calls in which it fell far; None without calls."""
        return self.fallen / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """One call of the live reranker and of the shadow.

    :param live: The ranking that was returned.
    :param shadow: The other reranker's, of the same candidates.
    :param seconds: How long the shadow took.
    """

    live: Ranking
    shadow: Ranking
    seconds: float

    def overlap(self, depth: int = 10) -> float:
        """Return the share of the live ranking's best kept candidates that are among the shadow's; 1 without any."""
        live, shadow = ({i.index for i in side.kept if i.rank <= depth} for side in (self.live, self.shadow))
        return len(live & shadow) / len(live) if live else 1.0

    @property
    def same_best(self) -> bool:
        """Whether both rank the same candidate first."""
        live, shadow = (next((i.index for i in side.kept if i.rank == 1), None) for side in (self.live, self.shadow))
        return live == shadow


@checked
class Shadow:
    """Scores with a second reranker what the live one scored, in the background, and only records.

    Give it as an observer. The call puts its ranking into a queue and goes on: a full queue drops it, and what fails
    here is counted and logged. The shadow takes processor time from the live model: give it
    ``threads=1``, or ``every=10``.

    :param reranker: The second reranker, with its own selection.
    :param record: Called with each result, on the background thread.
    :param most_waiting: The rankings that wait at most.
    :param every: Take one call in this many.
    :raises ConfigurationError: If a setting is out of its range.
    """

    def __init__(
        self,
        reranker: Reranker,
        record: Callable[[ShadowResult], Any],
        *,
        most_waiting: int = 100,
        every: int = 1,
    ) -> None:
        if most_waiting < 1 or every < 1 or not callable(record):
            raise ConfigurationError(
                f"most_waiting and every must be 1 or more and record a function, got {most_waiting!r}, {every!r} and "
                f"{record!r:.80}"
            )
        self.seen = self.recorded = self.dropped = self.failed = 0
        self._reranker, self._record = reranker, record
        self._every = every
        self._lock = ForkLock()
        self._waiting = BackgroundQueue(self._compare_all, "secondpass-shadow", most=most_waiting, drains=False)

    def __call__(self, ranking: Ranking) -> None:
        """Queue a ranking, or drop it where the queue is full; degraded ones aren't compared."""
        with self._lock:
            self.seen += 1
            if ranking.degraded or (self.seen - 1) % self._every:
                return
        if not self._waiting.put(ranking):
            self.dropped += 1

    def wait(self, timeout: float = 10.0) -> bool:
        """Wait until nothing waits any more, for tests and before an exit; return whether that was reached in time."""
        return self._waiting.flush(timeout)

    def _compare_all(self, rankings: Sequence[Ranking]) -> None:
        for live in rankings:
            try:
                self._compare(live)
                self.recorded += 1
            except Exception as error:  # noqa: BLE001  # whatever fails here must not end the thread
                self.failed += 1
                REPEATED_WARNINGS.warn("shadow", "the shadow reranker or its record failed (%s)", type(error).__name__)

    def _compare(self, live: Ranking) -> None:
        items = sorted((*live.kept, *live.dropped), key=lambda item: item.index)
        started = time.perf_counter()
        shadow = self._reranker.rerank(live.query, [item.candidate for item in items])
        self._record(ShadowResult(live, shadow, time.perf_counter() - started))

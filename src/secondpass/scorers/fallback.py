"""Fallback: the next scorer answers where one fails."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from secondpass.errors import ConfigurationError, ScoringError, checked
from secondpass.logs import REPEATED_WARNINGS
from secondpass.processes import ForkLock
from secondpass.records import Call, Pair, Score, Scored, Spec, Stage, Unscored, UnscoredReason
from secondpass.scoring.scorer import (
    ComposedScorer,
    Scorer,
    count_tokens,
    gave_no_value,
    has_score,
    refuse_pickling,
    score_checked,
)


@dataclass(slots=True, eq=False)
class Circuit:
    """Whether a scorer is asked: after a number of failures in a row only once in ``retry_seconds``, as a trial.

    Nygard, "Release It!", 2007 (circuit breaker). pybreaker, the usual library, holds a lock during the call;
    here calls run in parallel, and a deadline that passed counts.

    :param max_failures: Failures in a row that open the circuit.
    :param retry_seconds: How long it stays open before a trial.
    :param failures: Failures since the last success.
    :param total: All failures.
    :param success_seconds: What the last success took; 0 before it.
    """

    max_failures: int
    retry_seconds: float
    failures: int = 0
    total: int = 0
    success_seconds: float = 0.0
    _open_until: float = 0.0
    _lock: ForkLock = field(default_factory=ForkLock, repr=False)

    def allows(self, *, trial: bool = True) -> bool:
        """Return whether to ask now; the caller that is let through while the circuit is open makes the trial.

        :param trial: Whether this caller can make it.
        """
        with self._lock:
            if self.failures < self.max_failures:
                return True
            now = time.monotonic()
            if now < self._open_until or not trial:
                return False
            self._open_until = now + self.retry_seconds
            return True

    def succeeded(self, seconds: float) -> bool:
        """Close the circuit after a call, given its seconds, and return whether it was open."""
        with self._lock:
            self.success_seconds = seconds
            was_open, self.failures = self.failures >= self.max_failures, 0
            return was_open

    def failed(self) -> bool:
        """Count a failure, and return whether it opened the circuit."""
        with self._lock:
            self.failures, self.total = self.failures + 1, self.total + 1
            if self.failures >= self.max_failures:
                self._open_until = time.monotonic() + self.retry_seconds
            return self.failures == self.max_failures


@checked
class Fallback(ComposedScorer):
    """Asks the first of several scorers, and the next one where it fails. All scores of a call are one scorer's.

    A scorer that keeps failing isn't asked for a while; one that gives no finite score has failed too. A call that was
    over before a scorer was asked says nothing about it. Where all fail, ``Reranker`` returns the first stage's order.

    :param scorers: At least two, the preferred one first. Either all of them have probabilities or none.
    :param max_failures: The number of failures in a row after which a scorer is left out.
    :param retry_seconds: For so long; then one call tries it again.
    :raises ConfigurationError: If there are fewer than two scorers, or a setting is out of its range.
    """

    def __init__(self, *scorers: Scorer, max_failures: int = 3, retry_seconds: float = 30.0) -> None:
        super().__init__(scorers, "a fallback needs at least two scorers, the preferred one first", least=2)
        if len({scorer.spec.scale.has_probabilities for scorer in scorers}) > 1:
            raise ConfigurationError(
                "either all scorers of a fallback have a scale with probabilities or none, since thresholds need them"
            )
        if max_failures < 1 or not retry_seconds >= 0:
            raise ConfigurationError(
                f"max_failures must be 1 or more and retry_seconds 0 or more, got {max_failures!r}, {retry_seconds!r}"
            )
        self.circuits = tuple(Circuit(max_failures, retry_seconds) for _ in scorers)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        :raises ConfigurationError: Always.
        """
        refuse_pickling("a Fallback")

    def __repr__(self) -> str:
        """Return the scorers."""
        return f"Fallback({', '.join(map(repr, self.scorers))})"

    @property
    def spec(self) -> Spec:
        """The first scorer's specification; that of a result is its own scorer's."""
        specs = [scorer.spec for scorer in self.scorers]
        return replace(
            specs[0],
            batch_invariant=all(spec.batch_invariant for spec in specs),
            pointwise=all(spec.pointwise for spec in specs),
        )

    @property
    def failures(self) -> dict[str, int]:
        """How often each scorer has failed, by its place and name."""
        names = (f"{place}: {scorer.spec.name}" for place, scorer in enumerate(self.scorers, start=1))
        return dict(zip(names, (circuit.total for circuit in self.circuits), strict=True))

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order, all of one scorer.

        Where no scorer gave a finite score, the outcomes of the first that answered say so.

        :raises ScoringError: If none answered.
        """
        if not pairs:
            return Scored((), self.spec)
        failed: dict[str, str] = {}
        cause: Exception | None = None
        without_score: Scored | None = None  # of the first scorer that answered, for no text with a finite score
        started = time.perf_counter()
        for scorer, circuit in zip(self.scorers, self.circuits, strict=True):
            name = scorer.spec.name
            in_time = not (call and call.stop_reason())
            if not circuit.allows(trial=in_time):
                failed[name] = "left out after several failures"
                continue
            try:
                scored = _ask(scorer, circuit, pairs, call, in_time=in_time)
            except (ScoringError, OSError) as error:
                failed[name], cause = f"{type(error).__name__}: {error!s:.200}", error
                continue
            if gave_no_value(scored.outcomes):
                failed[name], without_score = "no finite score", without_score or scored
                continue
            return _answer(scored, name, failed, started)
        if without_score is not None:
            return _answer(without_score, None, failed, started)
        raise ScoringError(f"no scorer of {len(self.scorers)} answered: {failed}") from cause

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the first scorer counts them."""
        return count_tokens(self.scorers[0], texts)


def _ask(scorer: Scorer, circuit: Circuit, pairs: Sequence[Pair], call: Call | None, *, in_time: bool) -> Scored:
    """Return the scorer's outcomes, and count its success or failure if the call wasn't over beforehand."""
    name, asked = scorer.spec.name, time.perf_counter()
    try:
        scored = score_checked(scorer, pairs, call)
    except (ScoringError, OSError) as error:
        if in_time:
            _note_failure(name, circuit, type(error).__name__)
        raise
    if in_time:
        _note_outcomes(name, circuit, scored.outcomes, time.perf_counter() - asked)
    return scored


def _answer(scored: Scored, name: str | None, failed: dict[str, str], started: float) -> Scored:
    """Return the outcomes with the stage that says who answered, and who failed before."""
    facts = {"answered_by": name, "failed": failed}
    return replace(scored, stages=(*scored.stages, Stage("fallback", time.perf_counter() - started, facts)))


def _note_outcomes(name: str, circuit: Circuit, outcomes: Sequence[Score | Unscored], seconds: float) -> None:
    """Count a success or a failure; no score since a call was cancelled or a model is loading is neither.

    No score until the deadline is a failure, as of a scorer that hangs, where the call waited as long as the last
    success took: a few impatient callers must not take a working scorer from all.
    """
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, Unscored)}
    if has_score(outcomes):
        if circuit.succeeded(seconds):
            REPEATED_WARNINGS.warn((name, "again"), "the scorer %s answers again", name)
    elif gave_no_value(outcomes) or (UnscoredReason.DEADLINE in reasons and seconds >= circuit.success_seconds):
        _note_failure(name, circuit, "no score")


def _note_failure(name: str, circuit: Circuit, what: str) -> None:
    """Count a failure, and log the first one and that which opens the circuit."""
    opened = circuit.failed()
    if opened:
        seconds = circuit.retry_seconds
        message = "the scorer %s failed %d times and is left out for %g s"
        REPEATED_WARNINGS.warn((name, "left out"), message, name, circuit.failures, seconds)
    elif circuit.failures == 1:
        REPEATED_WARNINGS.warn((name, "failed"), "the scorer %s failed (%s): the next one answers", name, what)

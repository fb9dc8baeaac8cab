"""Rules that leave out scoring on which the answer probably doesn't depend: fitted on own questions, off by default.

``evaluation.fit_stop`` and ``evaluation.fit_gate`` fit them. Both are plain data: ``to_dict`` and ``from_dict``.
"""

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from secondpass.call import Call
from secondpass.errors import ConfigurationError
from secondpass.scores import Pair, Score, Scored, Spec, Stage, Unscored, UnscoredReason
from secondpass.scoring.scorer import ComposedScorer, Scorer, by_query, count_tokens, score_checked


class _Record:
    """Conversion of a rule to plain data and back."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``json.dumps``."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # both rules are dataclasses

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the rule that ``to_dict`` wrote.

        :raises ConfigurationError: If a field is missing or unknown.
        """
        try:
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
        except TypeError as error:
            raise ConfigurationError(f"{cls.__name__} must have the fields that to_dict wrote: {error}") from error


@dataclass(frozen=True, slots=True)
class StopRule(_Record):
    """When scoring, block by block in first-stage order, ends because the rest hardly reaches the top-k.

    :param fingerprint: That of the scorer it was fitted on.
    :param top_k: The candidates that are to stay the same.
    :param risk: The highest share of questions in which one of them may be lost.
    :param block: The candidates of a block.
    :param thresholds: For each number of scored blocks, from 1: scoring ends where the top-k's last score is above this
        value; None where it goes on in any case.
    :param questions: On how many questions it was fitted.
    """

    fingerprint: str
    top_k: int
    risk: float
    block: int
    thresholds: tuple[float | None, ...]
    questions: int

    def ends(self, scores: Sequence[float], blocks: int) -> bool:
        """Return whether scoring ends after so many blocks, which have these scores."""
        threshold = self.thresholds[blocks - 1] if blocks <= len(self.thresholds) else None
        if threshold is None or len(scores) < self.top_k:
            return False
        return heapq.nlargest(self.top_k, scores)[-1] > threshold


@dataclass(frozen=True, slots=True)
class Gate(_Record):
    """When the second pass is skipped because the first stage's top-k stands clear of the rest.

    :param top_k: The candidates that are to stay the same, in any order.
    :param risk: The highest share of questions in which they may be others.
    :param margin: The least gap between the first-stage scores of the top-k's last and of the next candidate, as a
        share of the gap between the first and the last; None never skips.
    :param questions: On how many questions it was fitted.
    """

    top_k: int
    risk: float
    margin: float | None
    questions: int

    def skips(self, first_stage_scores: Sequence[float | None]) -> bool:
        """Return whether the pass is skipped for candidates with these first-stage scores, in any order."""
        margin = first_stage_margin(first_stage_scores, self.top_k)
        return self.margin is not None and margin is not None and margin >= self.margin


def first_stage_margin(scores: Sequence[float | None], top_k: int) -> float | None:
    """Return the gap behind the ``top_k`` best as a share of all scores' range; None without scores or a range."""
    known = sorted((score for score in scores if score is not None), reverse=True)
    if len(known) < len(scores) or len(known) <= top_k or known[0] == known[-1]:
        return None
    return (known[top_k - 1] - known[top_k]) / (known[0] - known[-1])


class Stopping(ComposedScorer):
    """Scores in blocks, in the order of the pairs, and ends where a rule says that the rest hardly matters.

    What it leaves out is ``Unscored`` as ``PRUNED``, and the stage's ``saved_pairs`` counts it. Where another scorer
    answers than the rule's, as from inside of ``Fallback``, all pairs are scored in one call.

    :param scorer: The scorer.
    :param rule: The rule, fitted on this scorer.
    :raises ConfigurationError: If the rule was fitted on another scorer.
    """

    def __init__(self, scorer: Scorer, rule: StopRule) -> None:
        super().__init__((scorer,), "Stopping needs a scorer")
        (self._scorer,) = self.scorers
        if rule.fingerprint != scorer.spec.fingerprint:
            raise ConfigurationError(
                f"the rule must be fitted on the scorer that it stops: its fingerprint is {rule.fingerprint!r:.60}, "
                f"and that of {scorer.spec.name} {scorer.spec.fingerprint!r:.60}; fit it with evaluation.fit_stop"
            )
        self._rule = rule

    @property
    def spec(self) -> Spec:
        """The scorer's specification; whether a pair is scored depends on the others of its query."""
        return replace(self._scorer.spec, call_invariant=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If the scorer failed.
        """
        started = time.perf_counter()
        outcomes: list[Score | Unscored] = [Unscored(UnscoredReason.FAILED)] * len(pairs)
        facts: dict[str, Any] = {}
        saved = 0
        for group in by_query(pairs):
            answer = self._score_query([pairs[position] for position in group], call)
            if answer is None:
                scored = score_checked(self._scorer, pairs, call)
                return replace(scored, by=replace(scored.by, call_invariant=False))
            results, group_facts = answer
            facts = _added(facts, group_facts)
            saved += sum(isinstance(item, Unscored) and item.reason is UnscoredReason.PRUNED for item in results)
            for position, outcome in zip(group, results, strict=True):
                outcomes[position] = outcome
        facts |= {"saved_pairs": saved, "stopped_at_risk": self._rule.risk}
        return Scored(tuple(outcomes), self.spec, (Stage("score", time.perf_counter() - started, facts),))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the scorer counts them."""
        return count_tokens(self._scorer, texts)

    def _score_query(
        self, pairs: Sequence[Pair], call: Call | None
    ) -> tuple[list[Score | Unscored], dict[str, Any]] | None:
        """Return the outcomes of one query's pairs, and the facts of its stages, added up.

        None where another scorer answered, on whose scale the rule's thresholds mean nothing.
        """
        outcomes: list[Score | Unscored] = []
        facts: dict[str, Any] = {}
        for blocks, start in enumerate(range(0, len(pairs), self._rule.block)):
            values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
            if blocks and self._rule.ends(values, blocks):
                break
            scored = score_checked(self._scorer, pairs[start : start + self._rule.block], call)
            if scored.by.fingerprint != self._rule.fingerprint:
                return None
            outcomes += scored.outcomes
            for stage in scored.stages:
                facts = _added(facts, stage.facts)
        detail = f"one of the top {self._rule.top_k} with a risk of at most {self._rule.risk:g}"
        rest = range(len(pairs) - len(outcomes))
        return outcomes + [Unscored(UnscoredReason.PRUNED, detail, place=place) for place in rest], facts


def _added(facts: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Add up numbers, and take the later of other facts."""
    return {
        **facts,
        **{name: facts.get(name, 0) + fact if type(fact) in {int, float} else fact for name, fact in more.items()},
    }

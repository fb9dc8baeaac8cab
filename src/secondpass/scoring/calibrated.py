"""A scorer whose values are read through fitted records: probabilities that hold, and ``Ranking.answerable``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from secondpass.calibration import Answerability, Calibration
from secondpass.call import Call
from secondpass.scores import Pair, Scored, Spec
from secondpass.scoring.scorer import BaseScorer, Scorer, release_memory, warm_up


class Calibrated(BaseScorer):
    """Gives another scorer's values, whose probabilities are then the calibration's. The order doesn't change.

    Records in the model's own folder need no wrapper. Put ``Calibrated`` inside of ``Windowed`` and ``Fallback``.

    :param scorer: The scorer.
    :param calibration: Replaces the scale's own probabilities; None keeps them.
    :param answerability: For ``Ranking.answerable``; None keeps the scorer's own.
    :raises ConfigurationError: If a record was fitted on another model.
    """

    def __init__(
        self, scorer: Scorer, calibration: Calibration | None = None, answerability: Answerability | None = None
    ) -> None:
        scorer.spec.calibrated(calibration, answerability)
        self.scorer = scorer
        self._records = (calibration, answerability)

    def __repr__(self) -> str:
        """Return the scorer, and how it is calibrated."""
        calibration = self._records[0]
        return f"Calibrated({self.scorer!r}, {calibration.method if calibration else 'its own scale'})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the scorer."""
        return self

    @property
    def spec(self) -> Spec:
        """The scorer's specification with the records."""
        return self.scorer.spec.calibrated(*self._records)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return the scorer's outcomes; another scorer's, as a fallback gives them, keep their own scale.

        :raises ScoringError: If the scorer failed.
        """
        scored = self.scorer.score_pairs(pairs, call=call)
        if scored.by.calibrated_as != self.scorer.spec.calibrated_as:
            return scored
        return replace(scored, by=scored.by.calibrated(*self._records))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the scorer counts them."""
        counts: list[int] = getattr(self.scorer, "count_tokens")(texts)  # noqa: B009  # not every scorer has it
        return counts

    def warmup(self) -> None:
        """Warm up the scorer."""
        warm_up(self.scorer)

    def release(self) -> None:
        """Free the scorer's memory."""
        release_memory(self.scorer)

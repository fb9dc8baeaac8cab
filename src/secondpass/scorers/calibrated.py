"""A scorer whose values are read through fitted records: probabilities that hold, and ``Ranking.answerable``."""

from collections.abc import Sequence
from dataclasses import replace

from secondpass.calibration import Answerability, Calibration
from secondpass.errors import checked
from secondpass.records import Call, Pair, Scored, Spec
from secondpass.scoring.scorer import ComposedScorer, Scorer, count_tokens, score_checked


@checked
class Calibrated(ComposedScorer):
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
        super().__init__((scorer,), "Calibrated needs a scorer, such as load_scorer('small')")
        (self.scorer,) = self.scorers
        self._records = (calibration, answerability)
        self.scorer.spec.calibrated(*self._records)  # raises where a record is another model's

    def __repr__(self) -> str:
        """Return the scorer, and how it is calibrated."""
        calibration = self._records[0]
        return f"Calibrated({self.scorer!r}, {calibration.method if calibration else 'its own scale'})"

    @property
    def spec(self) -> Spec:
        """The scorer's specification with the records."""
        return self.scorer.spec.calibrated(*self._records)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return the scorer's outcomes; another scorer's, as a fallback gives them, keep their own scale.

        :raises ScoringError: If the scorer failed.
        """
        scored = score_checked(self.scorer, pairs, call)
        if scored.by.calibrated_as != self.scorer.spec.calibrated_as:
            return scored
        return replace(scored, by=scored.by.calibrated(*self._records))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the scorer counts them."""
        return count_tokens(self.scorer, texts)

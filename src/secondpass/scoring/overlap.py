"""A scorer without a model: shared words. The test double that ships, and what examples use."""

import re
from collections.abc import Sequence

from secondpass.scores import Call, Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored
from secondpass.scoring.protocol import BaseScorer

_WORD = re.compile(r"\w+")


class OverlapScorer(BaseScorer):
    """Scores a text by the share of the question's words that it holds, from 0 to 1."""

    @property
    def spec(self) -> Spec:
        """What is known of the scorer."""
        scale = Scale(ScaleKind.BOUNDED, 0.0, 1.0, declared="share of the question's words")
        return Spec("overlap", scale, fingerprint="overlap-1")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair; a call that is over leaves the rest unscored."""
        return Scored(tuple(_outcome(pair, call) for pair in pairs), self.spec)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count words."""
        return [len(_WORD.findall(text)) for text in texts]


def _outcome(pair: Pair, call: Call | None) -> Score | Unscored:
    over = call.over() if call else None
    if over:
        return Unscored(over)
    asked = set(_WORD.findall(pair.query.casefold()))
    found = asked.intersection(_WORD.findall(pair.text.casefold()))
    return Score(len(found) / len(asked) if asked else 0.0)

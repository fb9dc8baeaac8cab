"""A scorer without a model, for tests and examples: the share of shared words."""

import re
from collections.abc import Sequence

from secondpass.records import Call, Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored
from secondpass.scoring.scorer import BaseScorer

_WORD = re.compile(r"\w+")
_SCALE = Scale(ScaleKind.BOUNDED, 0.0, 1.0, declared="share of the query's words")


class OverlapScorer(BaseScorer):
    """Scores a text by the share of the query's words that it contains, from 0 to 1."""

    @property
    def spec(self) -> Spec:
        """The scorer's specification."""
        return Spec("overlap", _SCALE, fingerprint="overlap-1")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair; after the call's deadline or cancellation the rest stays unscored."""
        return Scored(tuple(_outcome(pair, call) for pair in pairs), self.spec)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words of each text."""
        return [len(_WORD.findall(text)) for text in texts]


def _outcome(pair: Pair, call: Call | None) -> Score | Unscored:
    reason = call.stop_reason() if call else None
    if reason:
        return Unscored(reason)
    query_words = set(_WORD.findall(pair.query.casefold()))
    shared = query_words.intersection(_WORD.findall(pair.text.casefold()))
    return Score(len(shared) / len(query_words) if query_words else 0.0)

"""Test doubles: ranked candidates with chosen scores, a token counter for words, scorers with given outcomes."""

import re
from collections.abc import Mapping, Sequence

from secondpass import Call, Candidate
from secondpass.errors import ScoringError
from secondpass.ranking import Dropped, Kept, Ranked, Ranking
from secondpass.records import LOGIT, Pair, Score, Scored, Spec, Unscored
from secondpass.scoring.scorer import BaseScorer


def count_words(text: str) -> int:
    """Count words: a token counter whose results can be checked by hand."""
    return len(text.split())


def judge(*texts: str | Candidate, values: Sequence[float | Unscored] | None = None) -> list[Ranked]:
    """Return candidates with scores, best first; without values the first has the highest."""
    candidates = [text if isinstance(text, Candidate) else Candidate(text) for text in texts]
    given = values if values is not None else [float(len(texts) - position) for position in range(len(texts))]
    return [
        Ranked(
            candidate,
            rank - 1,
            value if isinstance(value, Unscored) else Score(value),
            None if isinstance(value, Unscored) else LOGIT.probability(value),
            None,
            rank,
        )
        for rank, (candidate, value) in enumerate(zip(candidates, given, strict=True), start=1)
    ]


def texts(items: Sequence[Ranked] | Ranking) -> list[str]:
    """Return the candidates' texts, of kept ones the texts in the context."""
    return [item.text if isinstance(item, Kept) else item.candidate.text for item in items]


def reasons(items: Sequence[Dropped]) -> dict[str, str]:
    """Return why each text was dropped."""
    return {item.candidate.text: str(item.reason) for item in items}


def named(value: object) -> str:
    """Return a parameter's id: its text without addresses and random ids, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+|id_='[^']+'", "", str(value))


class Scripted(BaseScorer):
    """Returns given outcomes on a logit scale, and records the pairs.

    :param script: The raw value or the outcome of each text; other texts get 0.
    """

    def __init__(self, script: Mapping[str, float | Score | Unscored]) -> None:
        self.script = script
        self.asked: list[Pair] = []

    @property
    def spec(self) -> Spec:
        return Spec("scripted", LOGIT, fingerprint="scripted")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.asked += pairs
        outcomes = [self.script.get(pair.text, 0.0) for pair in pairs]
        return Scored(tuple(Score(item) if isinstance(item, int | float) else item for item in outcomes), self.spec)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [count_words(text) for text in texts]


class Failing(Scripted):
    """Raises an error instead of scoring.

    :param error: The error; None for a ``ScoringError``.
    """

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__({})
        self.error = error or ScoringError("the GPU is gone")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        raise self.error

"""Small worlds: judged candidates with chosen scores, a counter of words, scorers that say what they are told."""

from collections.abc import Mapping, Sequence

from secondpass import Call, Candidate
from secondpass.errors import ScoringError
from secondpass.ranking import Dropped, Kept, Ranked, Ranking
from secondpass.scores import LOGIT, Pair, Score, Scored, Spec, Unscored
from secondpass.scoring.scorer import BaseScorer


def count_words(text: str) -> int:
    """Count words: the tokenizer of a reader whose arithmetic can be done by hand."""
    return len(text.split())


def judge(*texts: str | Candidate, values: Sequence[float | Unscored] | None = None) -> list[Ranked]:
    """Return candidates as scoring leaves them, best first; without values the first gets the highest."""
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
    """Return the candidates' texts, or of kept ones what the reader sees."""
    return [item.text if isinstance(item, Kept) else item.candidate.text for item in items]


def reasons(items: Sequence[Dropped]) -> dict[str, str]:
    """Return why each text was dropped."""
    return {item.candidate.text: str(item.reason) for item in items}


class Scripted(BaseScorer):
    """Gives each text the outcome that the script has for it, on a logit scale, and notes what it was asked.

    :param script: From a text to its raw value or to its outcome; a text that isn't there gets 0.
    """

    def __init__(self, script: Mapping[str, float | Score | Unscored]) -> None:
        self.script = script
        self.asked: list[Pair] = []

    @property
    def spec(self) -> Spec:
        return Spec("scripted", LOGIT, fingerprint="scripted")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.asked += pairs
        told = [self.script.get(pair.text, 0.0) for pair in pairs]
        return Scored(tuple(Score(item) if isinstance(item, int | float) else item for item in told), self.spec)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [count_words(text) for text in texts]


class Failing(Scripted):
    """Raises what it is given instead of scoring.

    :param error: What it raises.
    """

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__({})
        self.error = error or ScoringError("the card fell out of its slot")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        raise self.error

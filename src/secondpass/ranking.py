"""What comes out: every candidate, kept or dropped with a reason, and what each stage did."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from secondpass.candidates import Candidate
from secondpass.scores import Score, Spec, Stage, Unscored


class Reason(StrEnum):
    """Why a candidate was dropped."""

    BELOW_THRESHOLD = "below threshold"
    DUPLICATE = "duplicate"
    DIVERSITY = "diversity"
    OVER_TOP_K = "over top-k"
    OVER_BUDGET = "over budget"
    PRUNED = "pruned"
    INVALID = "invalid"


class Cause(StrEnum):
    """Why a ranking isn't all that was asked for."""

    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    SCORER_FAILED = "scorer failed"
    EMPTY_QUERY = "empty query"


@dataclass(frozen=True, slots=True)
class Degraded:
    """The mark of a ranking that is, in part or as a whole, the first stage's order."""

    cause: Cause
    detail: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.cause}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate and what scoring and fusion say of it.

    :param candidate: The caller's candidate, unchanged.
    :param outcome: The scorer's outcome.
    :param probability: The outcome's value as a probability; None where there is no score.
    :param fused: The value that the order comes from, where a fusion ran; on a scale of its own.
    :param rank_before: The first-stage rank, counted from 1.
    """

    candidate: Candidate
    outcome: Score | Unscored
    probability: float | None
    fused: float | None
    rank_before: int

    @property
    def score(self) -> float | None:
        """The raw score, or None where the scorer gave none."""
        return self.outcome.value if isinstance(self.outcome, Score) else None

    @property
    def truncated(self) -> int:
        """How many tokens of the candidate the model never saw."""
        return self.outcome.truncated if isinstance(self.outcome, Score) else 0


@dataclass(frozen=True, slots=True)
class Kept(Judged):
    """A candidate that the reader will see.

    :param text: What the reader will see of it.
    :param spans: Which characters of the candidate's reading text those are.
    :param rank: Its rank by relevance among the kept, counted from 1.
    :param tokens: Its tokens, template included, as the budget's counter counts them; None without a budget.
    :param cut: How many of its tokens were left out to fit the budget; 0 where it is whole.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    rank: int
    tokens: int | None
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Dropped(Judged):
    """A candidate that the reader won't see.

    :param reason: Why.
    :param because_of: The candidate that stands for it, where there is one.
    :param detail: The figures behind the reason, in words.
    """

    reason: Reason
    because_of: Candidate | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of a second pass.

    :param query: The question.
    :param kept: What the reader will see, in the order in which it will be read.
    :param dropped: Everything else, best first.
    :param context: The kept texts, joined as the reader will see them.
    :param tokens: The tokens of ``context`` as the budget's counter counts them; None without a budget.
    :param stages: What each stage did, and how long it took.
    :param by: The scorer that gave the scores; None where none was asked.
    :param degraded: None, or why the first stage's order stands in for the model's.
    """

    query: str
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    context: str
    tokens: int | None
    stages: tuple[Stage, ...]
    by: Spec | None = None
    degraded: Degraded | None = None

    def __len__(self) -> int:
        """Count the kept."""
        return len(self.kept)

    def __iter__(self) -> Iterator[Kept]:
        """Go through the kept, in reading order."""
        return iter(self.kept)

    def __getitem__(self, position: int) -> Kept:
        """Return the kept at this position of the reading order."""
        return self.kept[position]

    def report(self) -> str:
        """Return the whole story as plain text: what was kept, what was dropped and why, and each stage's time."""
        from secondpass.observe.display import as_text  # a display is a room: entered only when somebody looks

        return as_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes; payloads stay out."""
        return {
            "query": self.query,
            "kept": [
                _judged_dict(kept)
                | {"text": kept.text, "spans": [list(s) for s in kept.spans], "rank": kept.rank, "tokens": kept.tokens}
                for kept in self.kept
            ],
            "dropped": [
                _judged_dict(dropped)
                | {
                    "text": dropped.candidate.text,
                    "reason": str(dropped.reason),
                    "detail": dropped.detail,
                    "because_of": dropped.because_of.id if dropped.because_of else None,
                }
                for dropped in self.dropped
            ],
            "tokens": self.tokens,
            "stages": [
                {
                    "name": stage.name,
                    "seconds": round(stage.seconds, 6),
                    "facts": {name: _plain(fact) for name, fact in stage.facts.items()},
                }
                for stage in self.stages
            ],
            "scorer": self.by.name if self.by else None,
            "degraded": str(self.degraded) if self.degraded else None,
        }


def _judged_dict(judged: Judged) -> dict[str, Any]:
    return {
        "id": judged.candidate.id,
        "source": judged.candidate.source,
        "first_stage_score": judged.candidate.score,
        "rank_before": judged.rank_before,
        "score": judged.score,
        "probability": judged.probability,
        "fused": judged.fused,
        "truncated": judged.truncated,
    }


def _plain(fact: object) -> object:
    return fact if isinstance(fact, str | int | float | bool | None) else str(fact)

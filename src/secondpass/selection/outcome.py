"""What each step of a selection gives back: who stays, and who was dropped."""

from typing import NamedTuple

from secondpass.candidates import Candidate
from secondpass.ranking import Dropped, Judged, Kept, Reason


class Split(NamedTuple):
    """Who stays, best first, and who was dropped by this step."""

    stay: list[Judged]
    dropped: list[Dropped]


def drop(judged: Judged, reason: Reason, detail: str = "", because_of: Candidate | None = None) -> Dropped:
    """Return the candidate as dropped."""
    return Dropped(
        judged.candidate,
        judged.outcome,
        judged.probability,
        judged.fused,
        judged.rank_before,
        reason=reason,
        because_of=because_of,
        detail=detail,
    )


def keep(judged: Judged, text: str, rank: int, tokens: int | None) -> Kept:
    """Return the candidate as kept, with the part of its reading text that the reader will see, from the start."""
    return Kept(
        judged.candidate,
        judged.outcome,
        judged.probability,
        judged.fused,
        judged.rank_before,
        text=text,
        spans=((0, len(text)),),
        rank=rank,
        tokens=tokens,
    )

"""Dropping candidates that would tell the reader the same thing twice."""

from collections.abc import Sequence

from secondpass.candidates import Candidate
from secondpass.ranking import Dropped, Judged, Reason
from secondpass.selection.outcome import Split, drop


def split_duplicates(judged: Sequence[Judged]) -> Split:
    """Drop every candidate whose reading text equals that of a better one, blanks around it aside."""
    first: dict[str, Candidate] = {}
    stay: list[Judged] = []
    dropped: list[Dropped] = []
    for item in judged:
        key = item.candidate.reading.strip()
        if key in first:
            dropped.append(drop(item, Reason.DUPLICATE, "the same text", because_of=first[key]))
        else:
            first[key] = item.candidate
            stay.append(item)
    return Split(stay, dropped)

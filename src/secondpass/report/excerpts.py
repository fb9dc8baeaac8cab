"""Texts for display: one line, or the parts of a long text that matter, each cut to a bounded length."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise

from secondpass.ranking import Kept
from secondpass.text import printable

_LENGTHS = {"best": 1200, "kept": 600, "left out": 200}
"""How many characters of a part are shown, by its role."""
_PARTS = 24  # of one text


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a candidate's text.

    :param text: Its text, with an ellipsis and the number of characters where its middle is cut out.
    :param role: ``"best"``: the best window, in the context; ``"kept"``: otherwise in the context; or ``"left out"``.
    """

    text: str
    role: str


def one_line(text: str, width: int) -> str:
    """Return the text's beginning in one line of a maximum length, without control characters."""
    line = " ".join(printable(text[: width * 4]).split())
    return line if len(line) <= width and len(text) <= width * 4 else line[: width - 1] + "…"


def parts(item: Kept) -> list[Part]:
    """Return a kept candidate's prompt text in parts: what is in the context, what isn't, and the best window.

    Parts that follow each other and have the same role are one. A text of any length gives a bounded number of
    characters.
    """
    text, window = item.candidate.reading, item.best_window
    best = item.candidate.reading_spans([(window.start, window.end)])[0] if window else None
    bounds = sorted({0, len(text), *(bound for span in (*item.spans, *([best] if best else [])) for bound in span)})
    starts = [start for start, _ in item.spans]
    found: list[tuple[int, int, str]] = []
    for start, end in pairwise(bounds):
        span = bisect_right(starts, start) - 1
        kept = span >= 0 and start < item.spans[span][1]
        role = "left out" if not kept else "best" if best and best[0] <= start < best[1] else "kept"
        if found and found[-1][2] == role:
            found[-1] = (found[-1][0], end, role)
        else:
            found.append((start, end, role))
    shown = [Part(_middle_cut(text, start, end, _LENGTHS[role]), role) for start, end, role in found[:_PARTS]]
    if len(found) > _PARTS:
        rest = len(text) - found[_PARTS][0]
        shown.append(Part(f" … {rest:,} more characters", "left out"))
    return [replace(part, text=printable(part.text)) for part in shown]


def _middle_cut(text: str, start: int, end: int, length: int) -> str:
    if end - start <= length + 40:
        return text[start:end]
    head, tail = text[start : start + length // 2], text[end - length // 2 : end]
    return f"{head} … {end - start - len(head) - len(tail):,} characters … {tail}"

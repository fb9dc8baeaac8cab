"""The slope picture: a line from each candidate's first-stage rank to the row where it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from secondpass.ranking import Dropped, Kept, Ranked

ROW = 30  # pixels of a row, in the picture and in the list beside it
_LINE_WIDTH = 90  # pixels from the beginning of a line to its end
_LABEL = 13  # pixels between two labels
_LINES = 60  # of dropped candidates: more would hide the others


Kind = Literal["up", "down", "same", "dropped"]


@dataclass(frozen=True, slots=True)
class Line:
    """The line of one candidate: its path in SVG's notation, what it shows (in words), and where it went."""

    path: str
    title: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Label:
    """A first-stage rank near the beginning of its line, and the path that joins them where they are apart."""

    rank: int
    y: float
    path: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Slope:
    """The picture: its size, where the lines begin, the lines (those of dropped candidates first) and labels.

    :param step: Of the dropped candidates, every how manyth has a line.
    """

    width: int
    height: int
    left: int
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    step: int


def slope(kept: Sequence[Kept], dropped: Sequence[Dropped], rows: Mapping[str, int], ranks: int) -> Slope:
    """Lay out the picture.

    :param kept: The kept candidates that have a row, in their order from the top.
    :param dropped: All dropped candidates.
    :param rows: The row of each reason, counted from 0, below those of the kept.
    :param ranks: The last first-stage rank.
    """
    height = ROW * (max(rows.values(), default=len(kept) - 1) + 1)
    left = 15 + 7 * max(len(str(ranks)), 2)

    def start(item: Ranked) -> float:
        return ROW / 2 + (item.rank_before - 1) / max(ranks - 1, 1) * (height - ROW)

    step = max(-(-len(dropped) // _LINES), 1)
    drawn = sorted(dropped, key=lambda item: item.rank_before)[::step]
    labelled: list[Ranked] = [*kept, *(drawn if ranks * _LABEL <= height else ())]
    labelled.sort(key=lambda item: item.rank_before)
    places = zip(labelled, _apart([start(item) for item in labelled], height), strict=True)

    def line(item: Ranked, row: int, end: str, kind: Kind) -> Line:
        first, last, middle = start(item), row * ROW + ROW / 2, left + _LINE_WIDTH / 2
        path = f"M{left},{first:.1f} C{middle},{first:.1f} {middle},{last:.1f} {left + _LINE_WIDTH},{last:.1f}"
        return Line(path, f"{item.rank_before} → {end}", kind)

    lines = [line(item, rows[item.reason], str(item.reason), "dropped") for item in drawn]
    lines += [line(item, row, str(item.rank), _kind(item)) for row, item in enumerate(kept)]
    labels = [
        Label(item.rank_before, y, f"M{left - 8},{y:.1f} L{left},{start(item):.1f}", _kind(item)) for item, y in places
    ]
    return Slope(left + _LINE_WIDTH, height, left, tuple(lines), tuple(labels), step)


def _kind(item: Ranked) -> Kind:
    if not isinstance(item, Kept):
        return "dropped"
    return "up" if item.rank < item.rank_before else "down" if item.rank > item.rank_before else "same"


def _apart(heights: Sequence[float], limit: int) -> list[float]:
    """Move rising heights apart around their places, so that no two labels touch and none leaves the picture."""
    down, up = list(heights), list(heights)
    for position in range(1, len(heights)):
        down[position] = max(down[position], down[position - 1] + _LABEL)
        up[-position - 1] = min(up[-position - 1], up[-position] - _LABEL)
    placed = [(lower + upper) / 2 for lower, upper in zip(down, up, strict=True)]
    last = len(placed) - 1
    highest = [min(place, limit - _LABEL / 2 - (last - position) * _LABEL) for position, place in enumerate(placed)]
    return [max(place, _LABEL / 2 + position * _LABEL) for position, place in enumerate(highest)]

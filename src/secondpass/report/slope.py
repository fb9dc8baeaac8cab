"""The slope picture: a line from each candidate's first-stage rank to the row where it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from secondpass.ranking import Dropped, Kept, Ranked

ROW = 30  # pixels of a row, in the picture and in the list beside it
_LEFT, _WIDTH = 40, 130  # where the lines begin, behind the labels, and where they end
_LABEL = 13  # pixels between two labels
_LINES = 150  # of dropped candidates


Kind = Literal["up", "down", "same", "dropped"]


@dataclass(frozen=True, slots=True)
class Line:
    """The line of one candidate: its path in SVG's notation, what it shows (in words), and where it went."""

    path: str
    title: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Label:
    """A first-stage rank beside the beginning of its line."""

    rank: int
    y: float


@dataclass(frozen=True, slots=True)
class Slope:
    """The picture: its size, lines (those of dropped candidates first) and labels.

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

    def left(item: Ranked) -> float:
        return ROW / 2 + (item.rank_before - 1) / max(ranks - 1, 1) * (height - ROW)

    step = max(-(-len(dropped) // _LINES), 1)
    drawn = sorted(dropped, key=lambda item: item.rank_before)[::step]
    lines = [_line(left(item), rows[item.reason], f"{item.rank_before} → {item.reason}", "dropped") for item in drawn]
    lines += [_line(left(item), row, f"{item.rank_before} → {item.rank}", _kind(item)) for row, item in enumerate(kept)]
    labelled: list[Ranked] = [*kept, *(dropped if ranks * _LABEL <= height else ())]
    labelled.sort(key=lambda item: item.rank_before)
    labels = map(Label, (item.rank_before for item in labelled), _apart([left(item) for item in labelled], height))
    return Slope(_WIDTH, height, _LEFT, tuple(lines), tuple(labels), step)


def _line(left: float, row: int, title: str, kind: Kind) -> Line:
    right, middle = row * ROW + ROW / 2, (_LEFT + _WIDTH) / 2
    path = f"M{_LEFT},{left:.1f} C{middle},{left:.1f} {middle},{right:.1f} {_WIDTH},{right:.1f}"
    return Line(path, title, kind)


def _kind(item: Kept) -> Kind:
    return "up" if item.rank < item.rank_before else "down" if item.rank > item.rank_before else "same"


def _apart(heights: Sequence[float], limit: int) -> list[float]:
    """Move rising heights apart so that no two labels touch, and back up from the picture's lower edge."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + _LABEL) if placed else height)
    for position in reversed(range(len(placed))):
        below = placed[position + 1] if position + 1 < len(placed) else limit + _LABEL / 2
        placed[position] = min(placed[position], below - _LABEL)
    return placed

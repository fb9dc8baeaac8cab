"""The parts of extraction: windows of a candidate, their relevance and shingles, and the text of extracts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from secondpass.ranking import Ranked
from secondpass.records import Score, Window
from secondpass.selection.order import relevances

GAP = " [...] "
"""What stands for the text between two extracts of a candidate."""
_SHINGLE = 3  # words
_LONGEST_WORD = 15  # characters; where words are longer on average, the script has no blanks between them

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A window that can be extracted, or a candidate as a whole.

    :param row: The candidate's position, best first.
    :param span: Where it stands in the text that the LLM reads.
    :param relevance: From 0 to 1; see ``read_pieces``.
    :param tokens: Its tokens; infinite where it is too long to be counted.
    :param scored: Whether it has a score; those without one follow all others.
    """

    row: int
    span: Span
    relevance: float
    tokens: float
    scored: bool = True


def read_pieces(
    ranked: Sequence[Ranked], min_probability: float | None, size: Callable[[Ranked, Span], float]
) -> Iterator[Piece]:
    """Yield the pieces of all candidates, of each the best first.

    A window is as relevant as its candidate, in proportion to the candidate's best window: so the value that decides,
    such as a fused one, decides here too.

    :param ranked: The candidates.
    :param min_probability: Leave out windows below it, but for each candidate's best; None for none.
    :param size: The tokens of a part of a candidate.
    """
    low = min((window.value for item in ranked for window in _windows(item)), default=0.0)
    for row, (item, relevance) in enumerate(zip(ranked, relevances(ranked), strict=True)):
        placed = placed_windows(item)
        if not placed:
            span = (0, len(item.candidate.reading))
            yield Piece(row, span, relevance, size(item, span), scored=item.score is not None)
            continue
        best = max(_strength(window, low) for window in _windows(item))
        for at, (window, span) in enumerate(placed):
            probability = window.probability
            if at and min_probability is not None and probability is not None and probability < min_probability:
                break
            share = _strength(window, low) / best if best > 0 else 1.0
            yield Piece(row, span, relevance * share, size(item, span))


def placed_windows(item: Ranked) -> list[tuple[Window, Span]]:
    """Return the windows of a candidate, best first, and where they stand in the text that the LLM reads.

    There are none where the candidate was scored as a whole, and where the LLM reads another text.
    """
    windows = _windows(item) if len(_windows(item)) > 1 else ()
    spans = item.candidate.reading_spans([(window.start, window.end) for window in windows])
    placed = [(window, span) for window, span in zip(windows, spans, strict=True) if span]
    return sorted(placed, key=lambda pair: -pair[0].value)


def _windows(item: Ranked) -> Sequence[Window]:
    return item.outcome.windows if isinstance(item.outcome, Score) else ()


def _strength(window: Window, low: float) -> float:
    """Return a window's probability; on a scale without, how far its value is above the pool's lowest."""
    return window.value - low if window.probability is None else window.probability


def whole(item: Ranked) -> Span:
    """Return the span of all that follows a candidate's header."""
    return item.candidate.header_length, len(item.candidate.reading)


def shingles_of(text: str) -> frozenset[object]:
    """Return a text's shingles: 3 words each, or 3 characters in scripts without blanks."""
    words = text.casefold().split()
    units: Sequence[str] = words if len(text) <= _LONGEST_WORD * len(words) else "".join(words)
    return frozenset(zip(*(units[start:] for start in range(min(_SHINGLE, len(units)))), strict=False))


def merge_spans(spans: Iterable[Span], text: str) -> list[Span]:
    """Return spans in rising order, those merged between which there is at most blank space."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and not text[merged[-1][1] : start].strip():
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def excerpt(item: Ranked, spans: Sequence[Span]) -> tuple[str, Sequence[Span]]:
    """Return the text of extracts and all of its spans: a header comes first, and is part of it."""
    reading, header = item.candidate.reading, item.candidate.header_length
    first, last = spans[0][0], spans[-1][1]
    if len(spans) == 1 and not (reading[header:first].strip() or reading[last:].strip()):
        return reading, ((0, len(reading)),)
    text = reading[:header] + GAP.join(reading[start:end] for start, end in spans)
    if not header:
        return text, tuple(spans)
    if first == header:
        return text, ((0, spans[0][1]), *spans[1:])
    return text, ((0, header), *spans)

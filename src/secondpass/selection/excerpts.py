"""The parts of extraction: windows of a candidate, their relevance and shingles, and the text of extracts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from secondpass.ranking import Ranked
from secondpass.scores import Score, Window

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
    :param relevance: Its probability; on a scale without probabilities its value, scaled to 0 to 1 over the pool.
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
    """Yield the pieces of all candidates.

    :param ranked: The candidates.
    :param min_probability: Leave out windows below it, but for each candidate's best; None for none.
    :param size: The tokens of a part of a candidate.
    """
    values = [window.value for item in ranked for window in _windows(item)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    for row, item in enumerate(ranked):
        windows = _windows(item)
        spans = item.candidate.reading_spans([(window.start, window.end) for window in windows])
        whole = (0, len(item.candidate.reading))
        if len(windows) < 2 or not any(spans):
            windows, spans = sorted(windows, key=lambda window: -window.value)[:1], [whole]
        if not windows:
            yield Piece(row, whole, 0.0, size(item, whole), scored=False)
        for window, span in zip(windows, spans, strict=False):
            if span and not _is_unlikely(window, item, min_probability):
                yield Piece(row, span, _relevance(window, low, high), size(item, span))


def _windows(item: Ranked) -> Sequence[Window]:
    """Return the windows of a candidate; one that was scored as a whole is one window."""
    outcome = item.outcome
    if not isinstance(outcome, Score):
        return ()
    return outcome.windows or (Window(0, len(item.candidate.text), outcome.value, item.probability),)


def _relevance(window: Window, low: float, high: float) -> float:
    """Return a window's probability; on a scale without, its value, scaled to 0 to 1 between the pool's bounds."""
    if window.probability is not None:
        return window.probability
    return (window.value - low) / (high - low) if high > low else 1.0


def _is_unlikely(window: Window, item: Ranked, min_probability: float | None) -> bool:
    """Return whether a window is below the threshold, and isn't the best of its candidate."""
    if min_probability is None or window.probability is None:
        return False
    return window.probability < min_probability and window.value < max(other.value for other in _windows(item))


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

"""Cutting a text into overlapping windows of about equal size, at sentence ends."""

from collections.abc import Callable, Sequence

from secondpass.text import joins, line_ends, mark_ends, sentence_ends, whole_character, word_ends

Span = tuple[int, int]
_Count = Callable[[Sequence[str]], list[int]]


def cut_windows(text: str, limit: int | None, overlap: float, count: _Count) -> tuple[list[Span], list[int]]:
    """Return overlapping windows of about equal size that together cover a text, and the tokens of each.

    A window ends with a sentence. A sentence of more than ``limit`` tokens is halved, where a line, a word or a part
    ends with a mark if there is one, until its parts fit.

    :param text: The text.
    :param limit: The most tokens of a window; None for no limit.
    :param overlap: The share of a window that the next one repeats, in whole sentences.
    :param count: Counts the tokens of texts.
    """
    (whole,) = count([text])
    if limit is None or whole <= limit:
        return [(0, len(text))], [whole]
    units, tokens = _units(text, limit, count)
    shared = int(overlap * limit)
    left = sum(tokens)  # in no window yet
    windows = -(-(left - shared) // (limit - shared))
    spans: list[Span] = []
    sizes: list[int] = []
    first = last = 0
    while last < len(units):
        size, before = sum(tokens[first:last]), last  # what is repeated, and where new text begins
        target = size + left / max(1, windows - len(spans))
        while last < len(units) and (
            last == before or (size + tokens[last] <= limit and size + tokens[last] / 2 <= target)
        ):
            size += tokens[last]
            left -= tokens[last]
            last += 1
        spans.append((units[first][0], units[last - 1][1]))
        sizes.append(size)
        first = _step_back(tokens, first + 1, last, shared, limit)
    return spans, sizes


def _step_back(tokens: Sequence[int], first: int, last: int, shared: int, limit: int) -> int:
    """Return where the next window begins: before ``last``, by ``shared`` tokens at most, but not before ``first``."""
    following, repeated = last, 0
    left = min(shared, limit - tokens[last]) if last < len(tokens) else 0
    while left > 0 and following > first and repeated + tokens[following - 1] <= left:
        following -= 1
        repeated += tokens[following]
    return following


def _units(text: str, limit: int, count: _Count) -> tuple[list[Span], list[int]]:
    """Return sentences, the long ones in parts, and the tokens of each."""
    ends = sentence_ends(text)
    spans = list(zip([0, *ends], ends, strict=False))
    units = [(span, tokens) for span, tokens in zip(spans, count([text[a:b] for a, b in spans]), strict=True)]
    while any(tokens > limit and end - start > 1 for (start, end), tokens in units):
        halves = [
            half
            for span, tokens in units
            for half in (_halves(text, span) if tokens > limit and span[1] - span[0] > 1 else [span])
        ]
        known = dict(units)
        missing = [span for span in halves if span not in known]
        known |= dict(zip(missing, count([text[a:b] for a, b in missing]), strict=True))
        units = [(span, known[span]) for span in halves]
    return [span for span, _ in units], [tokens for _, tokens in units]


def _halves(text: str, span: Span) -> list[Span]:
    """Cut a span at the best place within its middle half, of the same kind the nearest to its middle."""
    start, end = span
    middle, quarter = (start + end) // 2, (end - start) // 4
    first = middle - quarter
    part = text[first : middle + quarter]
    for ends in (line_ends, word_ends, mark_ends):
        places = [first + at for at in ends(part)[:-1] if not joins(text, first + at)]
        if places:
            cut = min(places, key=lambda at: abs(at - middle))
            return [(start, cut), (cut, end)]
    cut = whole_character(text, middle, start, end)
    return [(start, cut), (cut, end)]

"""Cutting a text that takes too many tokens: the longest beginning that fits, or the longest part around a passage.

The places of a beginning's end are, in this order: where a sentence ends, where a line ends, where a word ends. A text
without blanks, such as one in Chinese or encoded data, is cut behind a mark, else between any two characters as people
see them.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest

from secondpass.text import joins, line_ends, mark_ends, sentence_ends, word_ends

MAX_PROBES = 12
"""How many beginnings of a text are counted at most to find the longest that fits, for each kind of place."""

LONGEST_WORD = 100
"""Characters; a longer piece without blanks isn't a word, and is cut between characters."""

Span = tuple[int, int]

Count = Callable[[int], int]
"""From the length of a beginning, in characters, to its tokens."""


class Cutter:
    """Finds beginnings of one text; the places to cut it are looked for when needed, and only once.

    :param text: The text.
    :param tokens: The tokens of the whole text.
    :param allowed: The tokens that a beginning may take, roughly; places are looked for in four times as many.
    """

    def __init__(self, text: str, tokens: int, allowed: int) -> None:
        self._whole = (len(text), tokens)
        self._head = text[: 1_000 + 4 * len(text) * allowed // max(1, tokens)]
        self._ends: list[Sequence[int]] = []

    def longest(self, allowed: int, count: Count) -> int:
        """Return the length of the longest beginning that takes at most ``allowed`` tokens, 0 if none does.

        It ends with a sentence if the first sentence fits, else with a line if the first line fits, and so on.
        """
        for kind, places in enumerate((_sentences, _lines, _words, _marks, _characters)):
            if kind == len(self._ends):
                self._ends.append(places(self._head))
            end = _search(self._ends[kind], allowed, self._whole, count)
            if end:
                return end
        return 0


# Each of these returns ends in rising order, without blanks before them; not that of the last piece, which is where the
# whole text ends or where its head was broken off.


def _sentences(text: str) -> Sequence[int]:
    return _stripped(text, sentence_ends(text)[:-1])


def _lines(text: str) -> Sequence[int]:
    return _stripped(text, line_ends(text)[:-1])


def _words(text: str) -> Sequence[int]:
    return _stripped(text, word_ends(text)[:-1])


def _marks(text: str) -> Sequence[int]:
    start, end = _long_word(text)
    return [start + at for at in mark_ends(text[start:end])[:-1]]


def _characters(text: str) -> Sequence[int]:
    start, end = _long_word(text)
    places = range(start + 1, end)
    return places if text.isascii() else [at for at in places if not joins(text, at)]


def _long_word(text: str) -> tuple[int, int]:
    """Return where the first word stands if it is all of a text, or too long for a word; else an empty span."""
    word = re.search(r"\S+", text)
    found = word and (word.end() == len(text.rstrip()) or len(word[0]) > LONGEST_WORD)
    return word.span() if word and found else (0, 0)


def _stripped(text: str, ends: Iterable[int]) -> list[int]:
    pieces = [(start, text[start:end].rstrip()) for start, end in pairwise([0, *ends])]
    return [start + len(piece) for start, piece in pieces if piece]


def _search(ends: Sequence[int], allowed: int, whole: tuple[int, int], count: Count) -> int:
    """Return the largest end up to which a text takes at most ``allowed`` tokens, 0 if even the first takes more.

    Where to look is interpolated between ends whose tokens are known, and every third time halfway between them.

    :param ends: Where the text may end, in rising order.
    :param allowed: The tokens that it may take.
    :param whole: The characters and the tokens of the whole text.
    :param count: The tokens of the text up to an end.
    """
    low, high = 0, len(ends)  # ends[:low] are known to fit, ends[high:] are known not to
    fits, exceeds = (0, 0), whole
    for attempt in range(MAX_PROBES):
        if low == high:
            break
        share = (allowed - fits[1]) / max(1, exceeds[1] - fits[1])
        guess = bisect_right(ends, fits[0] + share * (exceeds[0] - fits[0])) if attempt % 3 else (low + high) // 2
        probe = min(max(guess, low + 1), high) if attempt else 1
        tokens = count(ends[probe - 1])
        if tokens <= allowed:
            low, fits = probe, (ends[probe - 1], tokens)
        else:
            high, exceeds = probe - 1, (ends[probe - 1], tokens)
    return ends[low - 1] if low else 0


def longest_around(text: str, passage: Span, first: int, sizes: tuple[int, int], count: Callable[[Span], int]) -> Span:
    """Return the longest part of a text around a passage that fits, in whole sentences; empty if the passage doesn't.

    :param text: The text.
    :param passage: Where the passage stands.
    :param first: Where a part may begin.
    :param sizes: The tokens of the whole text, and those that the part may take.
    :param count: The tokens of a part.
    """
    whole, allowed = sizes
    reach = 1_000 + 4 * len(text) * allowed // max(1, whole)
    low, high = max(first, passage[0] - reach), passage[1] + reach
    ends = [low + end for end in sentence_ends(text[low:high])]
    bounds = [low, *ends] if low == first else ends
    sentences = [_without_blanks(text, *span) for span in pairwise(bounds if high >= len(text) else bounds[:-1])]
    parts = {end - start: (start, end) for start, end in _growing(passage, [(a, b) for a, b in sentences if a < b])}
    return parts.get(_search(list(parts), allowed, (len(text), whole), lambda size: count(parts[size])), (0, 0))


def _growing(passage: Span, sentences: Sequence[Span]) -> Iterator[Span]:
    """Yield a passage, then with all of its sentences, then with one more behind it and one more before it, in turn."""
    start, end = passage
    yield start, end
    inside = [span for span in sentences if span[0] < end and span[1] > start]
    if inside:
        start, end = min(start, inside[0][0]), max(end, inside[-1][1])
        yield start, end
    later = [b for a, b in sentences if a >= end]
    earlier = [a for a, b in sentences if b <= start]
    for behind, before in zip_longest(later, reversed(earlier)):
        end = behind or end
        yield start, end
        start = start if before is None else before
        yield start, end


def _without_blanks(text: str, start: int, end: int) -> Span:
    part = text[start:end]
    return end - len(part.lstrip()), start + len(part.rstrip())

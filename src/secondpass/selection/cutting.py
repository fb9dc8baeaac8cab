"""Cutting a text that takes too many tokens: the longest beginning that fits and ends where a sentence does."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from secondpass.text import sentence_ends

MAX_PROBES = 12
"""How many beginnings of a text are counted at most to find the longest that fits."""

Count = Callable[[int], int]
"""From the length of a beginning, in characters, to its tokens."""


class Cutter:
    """Finds beginnings of one text; where its sentences end is found only once.

    :param text: The text.
    :param tokens: The tokens of the whole text.
    :param longest: The length in characters from which on no beginning can fit.
    """

    def __init__(self, text: str, tokens: int, longest: int) -> None:
        self._whole = (len(text), tokens)
        self._ends = cut_points(text[:longest])

    def longest(self, allowed: int, count: Count) -> int:
        """Return the length of the longest beginning that takes at most ``allowed`` tokens, 0 if none does."""
        return _search(self._ends, allowed, self._whole, count)


def cut_points(text: str) -> list[int]:
    """Return where sentences end, blanks after them left out; not the last, which need not end where the text does."""
    ends = sentence_ends(text)[:-1]
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

"""Word shingles of texts, and how similar texts are by them: no model, and exact.

Broder, "On the resemblance and containment of documents", 1997: a text is the set of its sequences of three words, and
two texts resemble each other by the Jaccard index of their sets.
"""

import re
import string
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count

import numpy as np
import numpy.typing as npt

WORDS = 3
"""Words in a shingle."""

_BITS = 21  # a shingle is three word numbers in one 64-bit integer
_BLANKS = bytes.maketrans(string.punctuation.encode(), b" " * len(string.punctuation))
_SEPARATE = re.compile(  # Thai, Lao, kana and ideographs, which have no blanks between words; blanks and punctuation
    r"([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff])|[\u00a0\u2000-\u2027\u3000-\u3003\uff01-\uff0f]"
)
_NUMBER = re.compile(r"\d+")
_NEGATION = re.compile(r"\b(?:not|no|never|none|nor|without|cannot|nicht|kein\w*|ohne)\b|n['\u2019]t\b", re.IGNORECASE)


class Shingles:
    """The shingles of some texts. Case, punctuation and blanks make no difference.

    Building it takes time linear in the texts. A text's similarities take time linear in how often its shingles occur,
    and are computed once.

    :param texts: The texts, which are named by their positions.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        shingles, owners = _shingles([_words(text) for text in texts])
        order = np.argsort(shingles, kind="stable")
        shingles, sorted_owners = shingles[order], owners[order]
        new = (np.diff(shingles, prepend=-1) != 0) | (np.diff(sorted_owners, prepend=-1) != 0)  # not twice in a text
        shingles, self._owners = shingles[new], sorted_owners[new]
        self._sizes = np.bincount(self._owners, minlength=len(texts))
        firsts = np.flatnonzero(np.diff(shingles, prepend=-1))
        lengths = np.diff(firsts, append=len(shingles))
        self._first, self._length = np.repeat(firsts, lengths), np.repeat(lengths, lengths)  # of each entry's shingle
        entries = np.full(len(owners), -1)
        entries[order[new]] = np.arange(len(shingles))
        self._entries = np.split(entries[entries >= 0], np.cumsum(self._sizes)[:-1])  # of each text
        self._rows: dict[int, npt.NDArray[np.float64]] = {}
        self._numbers: dict[int, frozenset[str]] = {}

    def similarities(self, position: int) -> npt.NDArray[np.float64]:
        """Return the Jaccard index, from 0 to 1, of one text with each text."""
        if position not in self._rows:
            entries = self._entries[position]
            lengths = self._length[entries]
            ends = lengths.cumsum()
            starts = (self._first[entries] - ends + lengths).repeat(lengths)
            common = np.bincount(self._owners[starts + np.arange(len(starts))], minlength=len(self._texts))
            self._rows[position] = common / (self._sizes[position] + self._sizes - common)
        return self._rows[position]

    def duplicates(self, position: int, near: float) -> list[tuple[int, float]]:
        """Return the texts that are near-duplicates of one, which is among them, and their similarities.

        A text with a number that the one lacks, or with other negations (in English and German), isn't a near-duplicate
        of it: it says something else.

        :param position: The one.
        :param near: The similarity that a near-duplicate has at least.
        """
        similarities = self.similarities(position)
        similar: list[int] = (similarities >= near).nonzero()[0].tolist()
        if similar == [position]:
            return [(position, 1.0)]
        return [(other, float(similarities[other])) for other in similar if self._says_the_same(other, position)]

    def _says_the_same(self, other: int, position: int) -> bool:
        if not self._numbers_of(other) <= self._numbers_of(position):
            return False
        one, two = (sorted(map(str.lower, _NEGATION.findall(self._texts[at]))) for at in (other, position))
        return one == two

    def _numbers_of(self, position: int) -> frozenset[str]:
        if position not in self._numbers:
            self._numbers[position] = frozenset(_NUMBER.findall(self._texts[position]))
        return self._numbers[position]


def _words(text: str) -> list[bytes]:
    """Return the words of a text, each character of a script without blanks as one, or the text where it has none."""
    text = text.casefold()
    if not text.isascii():
        text = _SEPARATE.sub(r" \1 ", text)
    encoded = text.encode("utf-8", "surrogatepass")  # bytes are translated and split faster than characters
    return encoded.translate(_BLANKS).split() or [encoded.strip()]


def _shingles(words: Sequence[Sequence[bytes]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return every shingle of every text as a number, and the position of its text.

    A text of fewer words than a shingle has one shingle, which is filled up with zeros.
    """
    numbers: defaultdict[bytes, int] = defaultdict(count(1).__next__)
    padding = [b""] * (WORDS - 1)
    numbers[b""] = 0
    texts = [*words, padding]
    flat = np.fromiter(map(numbers.__getitem__, chain.from_iterable(texts)), np.int64)
    sizes = np.fromiter(map(len, words), np.int64, len(words))
    owners = np.repeat(np.arange(len(words)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(owners))  # words from here to the end of the text
    shingles = np.zeros(len(owners), np.int64)
    for offset in range(WORDS):
        shingles = shingles << _BITS | np.where(left > offset, flat[offset : offset + len(owners)], 0)
    whole = (left >= WORDS) | (left == sizes[owners])
    return shingles[whole], owners[whole]

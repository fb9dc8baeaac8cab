"""How similar texts are, by their word shingles, and what follows: near-duplicates, and maximal marginal relevance.

Broder, "On the resemblance and containment of documents", 1997: a text is the set of its sequences of three words, and
two texts resemble each other by the Jaccard index of their sets. No model, and exact.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries",
SIGIR 1998: the next candidate is the one with the highest ``(1 - diversity) * relevance - diversity * similarity``,
where the similarity is the largest to a kept one. Relevance is the probability; with fusion, or on a scale without
probabilities, it is the value that decides the order, scaled to 0 to 1.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, count, pairwise

import numpy as np
import numpy.typing as npt

from secondpass.ranking import Ranked
from secondpass.selection.filters import Identity
from secondpass.selection.order import relevances

WORDS = 3
"""Words in a shingle."""

_BITS = 21  # a shingle is three word numbers in one 64-bit integer
_BLANKS = bytes.maketrans(string.punctuation.encode(), b" " * len(string.punctuation))
_SEPARATE = re.compile(  # Thai, Lao, kana and ideographs, which have no blanks between words; blanks and punctuation
    r"([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff])|[\u00a0\u2000-\u2027\u3000-\u3003\uff01-\uff0f]"
)
_WORD = re.compile(  # a number with its sign and symbols; a character of a script without blanks; a word
    r"(?P<number>(?:[$€£¥<>≤≥±] ?|(?<!\S)[-+−])?\d+(?:[.,:/]\d+)*(?: ?[%‰°$€£¥])?)"
    r"|[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+(?:['’][^\W\d_]+)*"
)
_NUMBER_WORD = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|(?:hundred|thousand|million|billion|trillion|dozen|quarter)s?|"
    r"first|second|third|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf)th|half|halves|once|twice|double|triple|"
    r"null|halb\w*|doppelt\w*|dutzend|(?!(?:ein|und|einzig)$)(?:ein|zwei|drei|vier|fünf|sechs?|sieb(?:en)?|acht|neun|"
    r"zehn|elf|zwölf|zwan|zig|ßig|und|hundert|tausend)+(?:s?te[nrms]?)?"
)
_START = re.compile(r"(?:^|[.!?:;=|\n…。\]])\W*$|[\"'`“„«(\[<]$")  # of a sentence, a line, a value or a quotation
_JOINED_BEFORE = re.compile(r"(?:[^\W_][-_./@:\\&#+]|\d)$")
_JOINED_BEHIND = re.compile(r"[-_./@:\\&#+][^\W_]|\d")
_REACH = 8  # characters before a word in which its sentence may begin
_NEGATION = re.compile(r"\b(?:not|no|never|none|nor|without|cannot|nicht|kein\w*|ohne)\b|n['\u2019]t\b", re.IGNORECASE)


class Shingles:
    """The shingles of some texts. Case, punctuation and blanks make no difference.

    Building it takes time linear in the texts. A text's similarities take time linear in how often its shingles occur,
    and are computed once.

    :param texts: The texts, which are named by their positions.
    :param frames: What each must have in common with its near-duplicates; without any that is nothing.
    """

    def __init__(self, texts: Sequence[str], frames: Sequence[object] = ()) -> None:
        self._texts = texts
        self._frames = frames or [None] * len(texts)
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
        self._contents: dict[int, _Content] = {}

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

        A text in another frame, with content that the one lacks (such as a name or a number), or with other negations
        (in English and German) isn't a near-duplicate of it: it says something else.

        :param position: The one.
        :param near: The similarity that a near-duplicate has at least.
        """
        similarities = self.similarities(position)
        similar: list[int] = (similarities >= near).nonzero()[0].tolist()
        if similar == [position]:
            return [(position, 1.0)]
        return [(other, float(similarities[other])) for other in similar if self._says_the_same(other, position)]

    def _says_the_same(self, other: int, position: int) -> bool:
        if other == position:
            return True
        return self._frames[other] == self._frames[position] and self._content(other).within(self._content(position))

    def _content(self, position: int) -> "_Content":
        if position not in self._contents:
            self._contents[position] = _Content(self._texts[position])
        return self._contents[position]


class _Content:
    """What a text says that its near-duplicates must say too: its numbers, in their order, and words that are content.

    A word is content where it is a number word (in English and German), follows a number, has a capital inside of a
    sentence, belongs to an identifier (is joined to others by a character, or has a capital inside), or has no vowel,
    as units have none. It is, too, where it takes the place of another word, and either begins a sentence, a line, a
    value or a quotation, or occurs more than once, or is in a script without capitals. Other words may differ, as in a
    paraphrase.
    """

    def __init__(self, text: str) -> None:
        self._matches = [*_WORD.finditer(text)]
        self._text = text
        self._folded = [match[0].casefold().replace(" ", "") for match in self._matches]  # 5 % is 5%
        self.words = frozenset(self._folded)
        self.numbers = [word for word, match in zip(self._folded, self._matches, strict=True) if match["number"]]
        self.negations = sorted(map(str.casefold, _NEGATION.findall(text)))

    def within(self, other: "_Content") -> bool:
        """Return whether another text says all of it."""
        following = iter(other.numbers)
        in_order = all(number in following for number in self.numbers)
        if not in_order or self.negations != other.negations:
            return False
        new = self.words - other.words
        if not new:
            return True
        certain, doubtful = self._content
        return not certain & new and not any(self._replaces(word, other) for word in doubtful & new)

    @cached_property
    def _content(self) -> tuple[set[str], set[str]]:
        """The words that are content, and those that are where they take the place of others."""
        certain: set[str] = set()
        doubtful = {word for word, times in Counter(self._folded).items() if times > 1}
        number_end = -1
        for match, word in zip(self._matches, self._folded, strict=True):
            start, end = match.span()
            counted = number_end >= 0 and not self._text[number_end:start].strip(" -\u00a0")
            begins = _START.search(self._text, max(0, start - _REACH), start)
            if counted or _is_content(match, inside=not begins):
                certain.add(word)
            elif begins or match[0][0].lower() == match[0][0].upper():
                doubtful.add(word)
            number_end = end if match["number"] or _NUMBER_WORD.fullmatch(word) else -1
        return certain, doubtful

    def _replaces(self, word: str, other: "_Content") -> bool:
        """Return whether a word has the neighbour of one that stands in the other text, and in this one doesn't.

        Such a word has lost what follows it as well as what precedes it; where text is inserted, only the two words
        around it have lost each other.
        """
        before, behind = ({pair[side] for pair in self._pairs if pair[1 - side] == word} for side in (0, 1))
        lost = other._pairs - self._pairs  # noqa: SLF001  # of the same class
        lefts, rights = {left for left, _ in lost}, {right for _, right in lost}
        return any((left in before and right in lefts) or (right in behind and left in rights) for left, right in lost)

    @cached_property
    def _pairs(self) -> Counter[tuple[str, str]]:
        """How often which two words follow each other; a blank stands for the beginning, and nothing for the end."""
        return Counter(pairwise([" ", *self._folded, ""]))


def _is_content(match: re.Match[str], *, inside: bool) -> bool:
    """Return whether a word is content by its form.

    :param match: The match of the word.
    :param inside: Whether it is inside of a sentence.
    """
    word, text, (start, end) = match[0], match.string, match.span()
    folded = word.casefold()
    return bool(
        match["number"]
        or word[1:] != word[1:].lower()
        or (inside and word[0].isupper())
        or (folded.isascii() and folded.isalpha() and not set("aeiouy") & set(folded))
        or _NUMBER_WORD.fullmatch(folded)
        or _JOINED_BEFORE.search(text, max(0, start - 2), start)
        or _JOINED_BEHIND.match(text, end)
    )


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


Numbers = npt.NDArray[np.float64]


class Redundancy:
    """What the candidates of one query have in common.

    :param ranked: The candidates, best first.
    :param identities: Their identities.
    :param near: The similarity from which a candidate is a near-duplicate of a kept one; None compares none.
    :param diversity: The weight of the similarity, from 0 to 1.
    """

    def __init__(
        self, ranked: Sequence[Ranked], identities: Sequence[Identity], near: float | None, diversity: float
    ) -> None:
        self.shingles = Shingles([item.body for item in identities], [item.frame for item in identities])
        self.near = near
        self.diversity = diversity
        self.relevance: Numbers = np.array(relevances(ranked), float)
        self.scored = np.array([item.score is not None for item in ranked])

    def nearest(self, positions: Sequence[int], chosen: Sequence[int]) -> list[tuple[int, float]]:
        """Return for each position which of the kept is most similar, and the similarity."""
        similarities = np.array([self.shingles.similarities(kept)[positions] for kept in chosen])
        rows = similarities.argmax(axis=0)
        return [(chosen[row], float(similarities[row, column])) for column, row in enumerate(rows)]

    def compared_with(self, chosen: Sequence[int]) -> "Comparison":
        """Return the comparison with the kept, given by their positions, to which the caller may add."""
        return Comparison(self, chosen)


class Comparison:
    """How similar each candidate is to those that are kept so far.

    :param redundancy: What the candidates have in common.
    :param chosen: The positions of the kept, which the caller adds to.
    """

    def __init__(self, redundancy: Redundancy, chosen: Sequence[int]) -> None:
        self._redundancy = redundancy
        self._chosen = chosen
        self._compared = 0
        candidates = len(redundancy.relevance)
        self._similarity: Numbers = np.zeros(candidates)
        self._copied_similarity: Numbers = np.zeros(candidates)
        self._copied = np.full(candidates, -1)

    def original(self, position: int) -> tuple[int, float]:
        """Return the kept candidate of which one is a near-duplicate, or -1, and the similarity."""
        self._update()
        return int(self._copied[position]), float(self._copied_similarity[position])

    def by_marginal_relevance(self, waiting: Sequence[int]) -> Iterator[int]:
        """Yield these positions, each time the one with the highest marginal relevance; ties by relevance."""
        weight, relevance = self._redundancy.diversity, self._redundancy.relevance
        if not weight:
            yield from waiting
            return
        base = (1 - weight) * relevance
        base[~self._redundancy.scored] -= 2  # margins are within -1 and 1: those without a score follow
        left = np.full(len(relevance), -np.inf)
        left[waiting] = 0
        margin: Numbers | None = None
        for _ in waiting:
            if self._update() or margin is None:
                margin = base - weight * self._similarity + left
            position = int(margin.argmax())
            left[position] = margin[position] = -np.inf
            yield position

    def _update(self) -> bool:
        """Compare with those that were kept since the last time, and return whether there are any."""
        new = self._chosen[self._compared :]
        for kept in new:
            similarities = self._redundancy.shingles.similarities(kept)
            np.maximum(self._similarity, similarities, out=self._similarity)
            if self._redundancy.near is not None:
                for position, similarity in self._redundancy.shingles.duplicates(kept, self._redundancy.near):
                    if similarity > self._copied_similarity[position]:
                        self._copied[position], self._copied_similarity[position] = kept, similarity
        self._compared += len(new)
        return bool(new)

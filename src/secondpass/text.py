"""Texts: where they may be cut, fields of templates, lone surrogates and control characters replaced."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, pairwise
from string import Formatter

from secondpass.errors import contained

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but for tab and line feed (a terminal obeys them), and overrides of the writing direction."""


def well_formed(text: str) -> str:
    """Return the text with every lone surrogate replaced by ``?``, so that any tokenizer can encode it.

    Lengths and positions don't change. A text without lone surrogates is returned as it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def printable(text: str, *, line: bool = False) -> str:
    """Return the text with control characters and lone surrogates replaced, so that it is safe to show.

    :param text: Any text.
    :param line: Whether tabs and line breaks become blanks.
    """
    text = CONTROLS.sub("\N{REPLACEMENT CHARACTER}", well_formed(text.replace("\r\n", "\n")))
    return text.replace("\n", " ").replace("\t", " ") if line else text


_BLOCK = 2_000
"""Characters that the sentence splitter is given at once. In one of more than 10,000 it drops line breaks, which would
shift all offsets behind them, and in Chinese and Japanese it takes quadratic time."""
_BLANKS = str.maketrans(
    dict.fromkeys("\x85\u2028\u2029", "\n")
    | dict.fromkeys(["\xa0", "\u1680", *map(chr, range(0x2000, 0x200B)), "\u202f", "\u205f", "\u3000"], " ")
)
"""Blanks that aren't ASCII, at which the splitter slices inside of a character, and one character for each."""
_SENTENCE = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\u0964]+\s+|\n\s*")
_ORDINAL = re.compile(r"(?:^|[\s(])\d{1,2}\.[^\S\n]+$")
"""The end of a text that may end in an ordinal, as German writes dates. In English prose under 1 % of sentences end so:
two of them then stay together."""


def sentence_ends(text: str, language: str = "en") -> list[int]:
    """Return where each sentence ends, as character offsets in rising order; the last is ``len(text)``.

    Blanks after a sentence belong to it, so that the pieces between the offsets add up to the text. Takes linear time.

    :param text: Any text, also an empty one.
    :param language: The two-letter code of the language whose abbreviations are known.
    """
    import sentencex  # a compiled splitter: loaded when a text is cut, not when the package is imported

    def split(blocks: Sequence[str]) -> list[list[str]]:
        return [sentencex.segment(language, block) for block in blocks]

    plain = well_formed(text).translate(_BLANKS)
    ends = [0]
    start = 0
    while start < len(plain):
        block = plain[start : start + _BLOCK]
        (sentences,) = contained(split, [block], _split_simply)
        if "".join(sentences) != block:
            sentences = _split_simply(block)
        if start + len(block) < len(plain):
            sentences.pop()  # it may go on in the next block
        ends += [start + end for end in accumulate(map(len, sentences))]
        start = ends[-1] if sentences else start + len(block)
    return [end for end in ends[1:-1] if not _goes_on(plain, end)] + ends[1:][-1:]


def _split_simply(text: str) -> list[str]:
    """Return sentences by their marks and line breaks alone."""
    ends = [*(match.end() for match in _SENTENCE.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise([0, *ends]) if end > start]


def _goes_on(text: str, end: int) -> bool:
    """Return whether a sentence may go on behind its end: that is inside a character, or behind an ordinal."""
    return joins(text, end) or _ORDINAL.search(text[max(0, end - 12) : end]) is not None


def line_ends(text: str) -> list[int]:
    """Return where each line ends, its line break included; the last is ``len(text)``."""
    return list(accumulate(map(len, text.splitlines(keepends=True))))


def word_ends(text: str) -> list[int]:
    """Return where each word ends, the blanks behind it included; the last is ``len(text)``."""
    return [word.end() for word in re.finditer(r"\S+\s*|^\s+", text)]


def mark_ends(text: str) -> list[int]:
    """Return where each part of a text ends at a mark, as in data without blanks; numbers such as 1,234.5 are whole."""
    return [*(mark.end() for mark in re.finditer(r"[^\w\s](?=[\w\s])(?!(?<=\d.)\d)", text)), len(text)]


def joins(text: str, at: int) -> bool:
    """Return whether the characters before and after a place make up one that people see, so that no cut may be there.

    Stricter than extended grapheme clusters (Unicode Standard Annex 29) for Hangul and Indic conjuncts.
    """
    if not 0 < at < len(text) or text[at - 1 : at + 1].isascii():
        return text[max(0, at - 1) : at + 1] == "\r\n"
    before, after = text[at - 1], text[at]
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # two make a flag
        flags = re.search("[\U0001f1e6-\U0001f1ff]*$", text[max(0, at - 64) : at])
        return flags is not None and len(flags[0]) % 2 == 1
    return (
        unicodedata.category(after)[0] == "M"
        or after in "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"  # joiners, and marks that count as letters
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # the colour of skin
        or "\U000e0020" <= after <= "\U000e007f"  # tags behind a flag
        or "\u1160" <= after <= "\u11ff"  # the later parts of a Korean syllable
        or "\ud7b0" <= after <= "\ud7fb"
        or before == "\u200d"
        or unicodedata.combining(before) == 9  # a virama
        or before in "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd"  # Arabic signs that stand before numbers
    )


def whole_character(text: str, at: int, first: int = 0, last: int | None = None) -> int:
    """Return the place nearest before ``at``, else behind it, between ``first`` and ``last``, that is in no character.

    Of more than 64 marks on one letter, as in noise, some are cut off.
    """
    before = range(at, max(first, at - 64), -1)
    behind = range(at + 1, min(len(text) if last is None else last, at + 64))
    return next((place for place in (*before, *behind) if not joins(text, place)), at)


def template_fields(template: object) -> set[str] | None:
    """Return the names of the fields in a format string; None if it isn't one, or a field isn't a bare name.

    Positions, attributes, items, conversions and format specifications aren't bare: a format could cut text unseen.
    """
    if not isinstance(template, str):
        return None
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError:
        return None
    bare = all(name and not name.isdigit() and not set(".[") & set(name) for _, name, _, _ in parts)
    formatted = any(spec or conversion for _, _, spec, conversion in parts)
    return {str(name) for _, name, _, _ in parts} if bare and not formatted else None

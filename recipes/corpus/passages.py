"""Cuts running text into passages as long as a search engine's, and refuses what is no running prose."""

import random
import re
from collections.abc import Iterable, Iterator

from secondpass.text import sentence_ends

SHORTEST = 30  # words under which a passage says too little
LONGEST = 115  # words above which it is cut
_FEWEST_SENTENCE_WORDS = 4

_ENDS = ".!?\"”')"
_CAPTION = re.compile(r"(?:figure|table|example)\s+[\dA-Z]", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LICENCE = re.compile(
    r"copyright|warranty|licen[cs]ed? under|all rights reserved|redistribut|free documentation|creative commons|"
    r"invariant section|public license|this manual is|isbn|cover texts?\b|the gpl\b|permission (?:is|to)",
    re.IGNORECASE,
)
_NAVIGATION = re.compile(
    r"table of contents|next page|previous page|see also the index|prev next|click here|this page|@\w|"
    r"\.(?:html?|png|jpe?g|svg|py|cc?|h|xml)\b|\w\(\)|https?:|www\.|=>|->|::|\|\||&&|\$[A-Za-z{(]|[{}<>\\|^~]|__|%[a-z]\b|"
    r"(?:^|\s)--?[a-z]{2,}|\bfig(?:ure)?\.? \d|\bsection \d",
    re.IGNORECASE,
)
_COMMON = """
the of and a to in is that it for as with was on are be by this which or from an at not have has had but his her
their they its were been one when who can will more if there may also some than these into other such only you your
we he she all would so no up out do any about most used use
"""
_FUNCTION_WORDS = frozenset(_COMMON.split())


def tidy(text: str) -> str:
    """Return the text on one line, with plain blanks and without marks of references."""
    text = re.sub(r"[\u00ad\u200b-\u200f\ufeff]", "", text)
    text = re.sub(r"\[\d+\]|\[citation needed\]|¶|\(\s*\)", "", text)
    text = re.sub(r"\[[^\[\]]*\b(?:pp?\. ?\d|[Oo]p\. ?[Cc]it)[^\[\]]*\]", "", text)  # a reference to pages of a book
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"\s+([,;:!?)]|\.(?=\s|$))", r"\1", text).replace("( ", "(").strip()


def words(text: str) -> list[str]:
    """Return the words of a text, without numbers and punctuation."""
    return _WORD.findall(text)


def is_prose(text: str, shortest: int = SHORTEST, longest: int = LONGEST + 10) -> bool:
    """Say whether a text reads like sentences, rather than a table, code, a list of links or a notice."""
    tokens = text.split()
    if not shortest <= len(tokens) <= longest or text[-1] not in _ENDS or _LICENCE.search(text):
        return False
    found = words(text)
    letters = sum(map(str.isalpha, text)) / len(text)
    foreign = sum(not character.isascii() for character in text) / len(text)
    common = sum(word.lower() in _FUNCTION_WORDS for word in found) / max(1, len(found))
    shouted = sum(word.isupper() and len(word) > 1 for word in found) / max(1, len(found))
    # one mark of code or navigation may be a slip; two are a habit
    marks = len(_NAVIGATION.findall(text))
    return letters > 0.74 and foreign < 0.03 and common > 0.22 and shouted < 0.12 and marks < 2


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, tidied."""
    start, found = 0, list[str]()
    for end in sentence_ends(text):
        found.append(text[start:end].strip())
        start = end
    return [sentence for sentence in found if sentence]


def _finished(paragraph: str) -> str:
    """Return a paragraph with a full stop where an item of a list goes without; nothing of a fragment."""
    if not paragraph or paragraph[-1] in _ENDS or paragraph[-1] == ":":
        return paragraph
    return f"{paragraph}." if paragraph[0].isupper() else ""


def cut(paragraphs: Iterable[str], rng: random.Random) -> Iterator[str]:
    """Yield passages of whole sentences out of the paragraphs of one section, of 45 to 110 words.

    :param paragraphs: The section's paragraphs, in order.
    :param rng: Draws how long each passage should become.
    """
    wanted = rng.randint(45, 100)
    held: list[str] = []
    size = 0
    for sentence in (piece for paragraph in paragraphs for piece in sentences(_finished(tidy(paragraph)))):
        length = len(sentence.split())
        if held and size + length > LONGEST:
            yield " ".join(held)
            held, size, wanted = [], 0, rng.randint(45, 100)
        if (
            length > LONGEST
            or (length < _FEWEST_SENTENCE_WORDS and not held)
            or sentence.endswith(":")
            or _CAPTION.match(sentence)
        ):
            continue
        held.append(sentence)
        size += length
        if size >= wanted:
            yield " ".join(held)
            held, size, wanted = [], 0, rng.randint(45, 100)
    if size >= SHORTEST:
        yield " ".join(held)

"""Texts: sentence boundaries, fields of templates, lone surrogates and control characters replaced."""

import re
from itertools import accumulate
from string import Formatter

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


def sentence_ends(text: str, language: str = "en") -> list[int]:
    """Return where each sentence ends, as character offsets in rising order; the last is ``len(text)``.

    Blanks after a sentence belong to it, so that the pieces between the offsets add up to the text. Takes linear time.

    :param text: Any text, also an empty one.
    :param language: The two-letter code of the language whose abbreviations are known.
    """
    import sentencex  # a compiled splitter: loaded when a text is cut, not when the package is imported

    text = well_formed(text)
    ends = [0]
    start = 0
    while start < len(text):
        block = text[start : start + _BLOCK]
        sentences = sentencex.segment(language, block)
        if start + len(block) < len(text):
            sentences.pop()  # it may go on in the next block
        ends += [start + end for end in accumulate(map(len, sentences))]
        start = ends[-1] if sentences else start + len(block)
    return ends[1:]


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

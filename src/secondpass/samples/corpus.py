"""Python's language reference, which CPython carries for ``help()``, cut into passages."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from secondpass.errors import ConfigurationError
from secondpass.text import sentence_ends

LONGEST = 900  # characters of a passage, its heading included
_TARGET = 700  # characters over which the next paragraph begins another passage
_SHORTEST = 300  # characters under which a passage takes in the next paragraph all the same

_HEADING = re.compile(r"^(.*\S.*)\n([*=~^-])\2{2,}$", re.MULTILINE)
_DEFINITION = re.compile(r"\S[^\n]*[^\s.:;,]")  # one line at the margin, such as a method's signature
_INTRODUCTION = re.compile(r"[^\n]*(\n[^\n]*)?:")  # one or two lines that announce an example or a list


def python_reference() -> dict[str, str]:
    """Return this Python's language reference as passages by id, the same ones each time.

    :raises ConfigurationError: If this Python came without its reference.
    """
    try:
        from pydoc_data.topics import topics  # a large module, and some slim builds of Python leave it out
    except ImportError as error:
        raise ConfigurationError(
            "the demo and the examples search the reference in pydoc_data, which this Python came without: "
            "run it with a complete Python, such as the one from python.org"
        ) from error
    return split_topics(topics)


def split_topics(topics: Mapping[str, str]) -> dict[str, str]:
    """Return passages of a few paragraphs, each with its section's heading, by ids such as ``"with#3"``.

    A text that stands in several topics gives a passage in each, as in most collections: duplicates are left for the
    selection to drop.
    """
    return {
        f"{topic}#{number}": text
        for topic in sorted(topics)
        for number, text in enumerate(_passages(topics[topic]), start=1)
    }


def _passages(text: str) -> Iterator[str]:
    first, *rest = _HEADING.split(text)  # each heading is followed by its underline's character and the section
    for heading, body in (("", first), *zip(rest[::3], rest[2::3], strict=True)):
        prefix = f"{heading}\n\n" if heading else ""
        limit = LONGEST - len(prefix)
        pieces = (piece for unit in _units(body) for piece in cut_text(unit, limit))
        yield from (prefix + passage for passage in pack_pieces(pieces, limit, "\n\n"))


def _units(body: str) -> Iterator[str]:
    """Yield the paragraphs, each definition and each introduction together with what follows it."""
    unit = ""
    for paragraph in filter(None, (part.strip("\n").rstrip() for part in re.split(r"\n\s*\n", body))):
        unit = f"{unit}\n\n{paragraph}" if unit else paragraph
        if not (_DEFINITION.fullmatch(paragraph) or _INTRODUCTION.fullmatch(paragraph)):
            yield unit
            unit = ""
    if unit:
        yield unit


def cut_text(text: str, limit: int) -> Iterator[str]:
    """Cut a text that is too long at sentence ends, else at line ends, else after ``limit`` characters."""
    if len(text) <= limit:
        yield text
        return
    pieces = [text[start:end] for start, end in pairwise([0, *sentence_ends(text)])]
    if len(pieces) == 1:
        pieces = text.splitlines(keepends=True)
    if len(pieces) == 1:
        pieces = [text[start : start + limit] for start in range(0, len(text), limit)]
    parts = (part for piece in pieces for part in cut_text(piece, limit))
    yield from (passage.strip("\n").rstrip() for passage in pack_pieces(parts, limit, ""))


def pack_pieces(pieces: Iterable[str], limit: int, separator: str) -> Iterator[str]:
    """Join neighbours into passages of about 700 characters, none longer than ``limit``."""
    passage = ""
    for piece in pieces:
        joined = f"{passage}{separator}{piece}" if passage else piece
        complete = len(passage) >= _SHORTEST and (
            len(joined) > _TARGET or _DEFINITION.fullmatch(piece.partition("\n\n")[0])
        )
        if passage and (complete or len(joined) > limit):
            yield passage
            passage = piece
        else:
            passage = joined
    if passage:
        yield passage

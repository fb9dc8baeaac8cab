"""What the demo searches: Python's own language reference, as every CPython carries it for ``help()``."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from secondpass.errors import ConfigurationError
from secondpass.text import sentence_ends

LONGEST = 900  # characters of a passage, its heading included
_TARGET = 700  # characters at which the next paragraph begins a new passage
_SHORTEST = 300  # characters under which a passage takes in what follows, rather than stand alone
_CRUMB = 150  # characters of a paragraph that is too short to begin a passage

_UNDERLINE = re.compile(r"([*=~^-])\1{2,}")
_DEFINITION = re.compile(r"\S[^\n]*[^\s.:;,]")  # one line at the margin, such as a method's signature
_INTRODUCTION = re.compile(r"[^\n]*(\n[^\n]*)?:")  # one or two lines that announce an example or a list


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of the reference.

    :param id: The topic and the piece's number in it, such as ``"with#3"``.
    :param topic: The topic's name, as ``help()`` takes it.
    :param text: The heading of its section, and a few paragraphs.
    """

    id: str
    topic: str
    text: str


def python_reference() -> tuple[Passage, ...]:
    """Return this Python's language reference in passages, the same ones each time.

    :raises ConfigurationError: If this Python came without its reference.
    """
    try:
        from pydoc_data.topics import topics  # a large module, and some slim builds of Python leave it out
    except ImportError as error:
        raise ConfigurationError(
            "the demo searches the reference in pydoc_data, which this Python came without: "
            "run it with a complete Python, such as the one from python.org"
        ) from error
    return split_topics(topics)


def split_topics(topics: Mapping[str, str]) -> tuple[Passage, ...]:
    """Cut topics into passages, in the order of the topics' names.

    A text that stands in several topics comes from each of them, as it would from any collection of pages: leaving
    such copies out of the context is the second pass's work.
    """
    return tuple(
        Passage(f"{topic}#{number}", topic, text)
        for topic in sorted(topics)
        for number, text in enumerate(_pieces(topics[topic]), start=1)
    )


def _pieces(text: str) -> Iterator[str]:
    for heading, body in _sections(text):
        room = LONGEST - (len(heading) + 2 if heading else 0)
        for piece in _packed(_units(body, room), room):
            yield f"{heading}\n\n{piece}" if heading else piece


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield each section's heading and what stands under it; the underlines are left out."""
    heading, body = "", list[str]()
    for line in text.splitlines():
        if _UNDERLINE.fullmatch(line) and body and body[-1].strip():
            title = body.pop()
            yield heading, "\n".join(body)
            heading, body = title, []
        else:
            body.append(line)
    yield heading, "\n".join(body)


def _units(body: str, room: int) -> Iterator[str]:
    """Yield paragraphs, definitions and introductions together with what follows, none longer than the room."""
    held = ""
    for paragraph in (part.strip("\n").rstrip() for part in re.split(r"\n\s*\n", body)):
        if not paragraph:
            continue
        if _DEFINITION.fullmatch(paragraph) or _INTRODUCTION.fullmatch(paragraph):
            held = f"{held}\n\n{paragraph}".lstrip("\n")
            continue
        yield from _cut(f"{held}\n\n{paragraph}".lstrip("\n"), room)
        held = ""
    if held:
        yield from _cut(held, room)


def _packed(units: Iterable[str], room: int) -> Iterator[str]:
    """Join short units until a passage has a good length."""
    passage = ""
    for unit in units:
        joined = f"{passage}\n\n{unit}".lstrip("\n")
        full = len(joined) > _TARGET or _DEFINITION.fullmatch(unit.partition("\n\n")[0])
        if passage and (len(joined) > room or (full and len(passage) >= _SHORTEST and len(unit) >= _CRUMB)):
            yield passage
            passage = unit
        else:
            passage = joined
    if passage:
        yield passage


def _cut(unit: str, room: int) -> Iterator[str]:
    """Cut a long unit at sentence ends, else at line ends, else where the room ends."""
    if len(unit) <= room:
        yield unit
        return
    for sentence in _gathered(_between(unit, sentence_ends(unit)), room):
        lines = sentence.splitlines(keepends=True) if len(sentence) > room else [sentence]
        for piece in _gathered(lines, room):
            parts = (piece[start : start + room] for start in range(0, len(piece), room))
            yield from (part.strip("\n").rstrip() for part in parts if part.strip())


def _between(text: str, ends: Iterable[int]) -> Iterator[str]:
    start = 0
    for end in ends:
        yield text[start:end]
        start = end


def _gathered(pieces: Iterable[str], room: int) -> Iterator[str]:
    """Join neighbours as long as they fit the room."""
    gathered = ""
    for piece in pieces:
        if gathered and len(gathered) + len(piece) > room:
            yield gathered
            gathered = ""
        gathered += piece
    if gathered:
        yield gathered

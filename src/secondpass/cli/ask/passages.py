"""What ``secondpass ask`` searches, in passages: a folder's text files, or Python's reference."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from secondpass.errors import ConfigurationError, InputError
from secondpass.text import sentence_ends

LONGEST = 900  # characters of a passage, its heading included
_TARGET = 700  # characters over which the next paragraph begins another passage
_SHORTEST = 300  # characters under which a passage takes in the next paragraph all the same
_LONGEST_HEADING = 200  # characters of headings that are repeated in each passage of their section

SUFFIXES = (".md", ".markdown", ".rst", ".text", ".txt")
_UNDERLINED = re.compile(r"^(.*\S.*)\n([*=~^-])\2{2,}$", re.MULTILINE)
_MARKDOWN = re.compile(
    r"^[ \t]*(```|~~~).*?^[ \t]*\1|^(#{1,6}[ \t][^\n]*+(?:\s*+(?<=\n)#{1,6}[ \t][^\n]*+)*)", re.MULTILINE | re.DOTALL
)
"""A block of code, in which there is no heading, or headings that follow each other."""
_DEFINITION = re.compile(r"\S[^\n]*[^\s.:;,]")  # one line at the margin, such as a method's signature
_INTRODUCTION = re.compile(r"[^\n]*(\n[^\n]*)?:")  # one or two lines that announce an example or a list


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is searched.

    :param name: Its own among all corpora: a folder's path, or the reference of a Python version.
    :param passages: The passages by ids such as ``"fox.md#1"``.
    :param skipped: Why a file has no passages, by its path in the folder.
    """

    name: str
    passages: dict[str, str]
    skipped: dict[str, str] = field(default_factory=dict)


def read_folder(folder: Path) -> Corpus:
    """Return the passages of a folder's text files.

    Hidden files and folders and links to folders are left out. Bytes of a file's path that aren't UTF-8 are escaped.

    :raises ConfigurationError: If it isn't a folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"FOLDER, after the question, must be a folder with text files, and {folder} isn't one"
        )
    passages, skipped = dict[str, str](), dict[str, str]()

    def name_of(path: str | Path) -> str:
        return os.fsencode(Path(path).relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")

    def skip_folder(error: OSError) -> None:
        skipped[name_of(error.filename)] = str(error.strerror)

    for parent, folders, names in os.walk(folder, onerror=skip_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            try:
                for number, text in enumerate(split_file(_read(path), path.suffix), start=1):
                    passages[f"{name_of(path)}#{number}"] = text
            except InputError as error:
                skipped[name_of(path)] = str(error)
    return Corpus(str(folder.resolve()), passages, skipped)


def _read(path: Path) -> str:
    """Return a text file's content.

    :raises InputError: If it isn't one, with the reason.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"not named {', '.join(SUFFIXES)}")
    try:
        if not path.is_file():  # a pipe would never end
            raise InputError("not a regular file")
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("not in UTF-8") from error
    except OSError as error:
        raise InputError(error.strerror or type(error).__name__) from error
    if "\0" in text:
        raise InputError("binary")
    if not text.strip():
        raise InputError("empty")
    return text


def python_reference() -> dict[str, str]:
    """Return the passages of CPython's language reference, by ids such as ``"with#3"``.

    They are the same each time. A text that stands in several topics gives a passage in each, as in most collections:
    duplicates are left for the selection to drop.

    :raises ConfigurationError: If this Python came without its reference.
    """
    try:
        from pydoc_data.topics import topics  # a large module, and some slim builds of Python leave it out
    except ImportError as error:
        raise ConfigurationError(
            "Python's reference must be there to be searched, and this Python came without pydoc_data: "
            "run it with a complete Python, such as the one from python.org"
        ) from error
    numbered = ((topic, enumerate(split_topic(topics[topic]), start=1)) for topic in sorted(topics))
    return {f"{topic}#{number}": text for topic, texts in numbered for number, text in texts}


def split_topic(text: str) -> Iterator[str]:
    """Yield a topic's passages of a few paragraphs, each with its section's heading."""
    first, *rest = _UNDERLINED.split(text)  # each heading is followed by its underline's character and the section
    for heading, body in (("", first), *zip(rest[::3], rest[2::3], strict=True)):
        yield from _split_section(heading, body)


def split_file(text: str, suffix: str) -> Iterator[str]:
    """Yield a file's passages, which lose no line; in Markdown each has its section's headings."""
    headings = [match for match in _MARKDOWN.finditer(text) if match[2]] if suffix.lower() in SUFFIXES[:2] else []
    bounds = [*(match.start() for match in headings), len(text)]
    yield from _split_section("", text[: bounds[0]])
    for match, end in zip(headings, bounds[1:], strict=True):
        heading, body = match[2], text[match.end() : end]
        repeated = body.strip() and len(heading) <= _LONGEST_HEADING
        yield from _split_section(heading, body) if repeated else _split_section("", heading + body)


def _split_section(heading: str, body: str) -> Iterator[str]:
    prefix = f"{heading}\n\n" if heading else ""
    limit = LONGEST - len(prefix)
    pieces = (piece for unit in _units(body) for piece in _cut(unit, limit) if piece.strip())
    yield from (prefix + passage for passage in _pack(pieces, limit, "\n\n"))


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


def _cut(text: str, limit: int) -> Iterator[str]:
    """Cut a text that is too long at sentence ends, else at line ends, else after ``limit`` characters."""
    if len(text) <= limit:
        yield text
        return
    pieces = [text[start:end] for start, end in pairwise([0, *sentence_ends(text)])]
    if len(pieces) == 1:
        pieces = text.splitlines(keepends=True)
    if len(pieces) == 1:
        pieces = [text[start : start + limit] for start in range(0, len(text), limit)]
    parts = (part for piece in pieces for part in _cut(piece, limit))
    yield from (passage.strip("\n").rstrip() for passage in _pack(parts, limit, ""))


def _pack(pieces: Iterable[str], limit: int, separator: str) -> Iterator[str]:
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

"""The text files of a folder, and their passages."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from secondpass.samples.corpus import LONGEST, cut_text, pack_pieces

SUFFIXES = (".markdown", ".md", ".rst", ".text", ".txt")
_HEADING = re.compile(r"#{1,6}\s+(\S.*?)[\s#]*")
_FENCE = re.compile(r"\s*(```|~~~)")
_LONGEST_HEADING = 200  # characters of a heading that each passage of its section begins with


@dataclass(slots=True)
class TextFiles:
    """The files of a folder that can be read as text.

    :param digests: A hash of each file's content, by its path in the folder.
    :param skipped: How many other files there are, by what they are.
    """

    digests: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def text_files(folder: Path) -> TextFiles:
    """Return a folder's text files, those in its folders too; hidden files and links to folders are left out."""
    files = TextFiles()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES:
                files.skipped[path.suffix.lower() or "without a suffix"] += 1
                continue
            content = _content(path)
            if not content or not content.strip():
                files.skipped["empty" if content is not None else "unreadable or not in UTF-8"] += 1
            else:
                files.digests[path.relative_to(folder).as_posix()] = sha256(content.encode()).hexdigest()[:24]
    return files


def read_passages(path: Path) -> list[str]:
    """Return a file's passages of a few paragraphs, each with its section's heading; none of a file that is gone."""
    return list(split_text(_content(path) or ""))


def split_text(text: str) -> Iterator[str]:
    """Yield passages of at most 900 characters, cut between paragraphs where that is possible."""
    for heading, body in _sections(text):
        prefix = f"{heading[:_LONGEST_HEADING]}\n\n" if heading else ""
        limit = LONGEST - len(prefix)
        paragraphs = filter(None, (part.strip("\n").rstrip() for part in re.split(r"\n\s*\n", body)))
        pieces = (piece for paragraph in paragraphs for piece in cut_text(paragraph, limit))
        yield from (prefix + passage for passage in pack_pieces(filter(str.strip, pieces), limit, "\n\n"))


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield each Markdown heading with the text below it; what looks like one in a code block isn't."""
    heading, lines, fenced = "", list[str](), False
    for line in text.splitlines():
        fenced ^= bool(_FENCE.match(line))
        match = None if fenced else _HEADING.fullmatch(line)
        if match:
            yield heading, "\n".join(lines)
            heading, lines = match[1], []
        else:
            lines.append(line)
    yield heading, "\n".join(lines)


def _content(path: Path) -> str | None:
    if not path.is_file():  # a pipe would never end
        return None
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text

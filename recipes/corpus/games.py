"""Descriptions of things, creatures and institutions out of the data of free games."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recipes.corpus.passages import tidy


@dataclass(frozen=True, slots=True)
class Described:
    """A name and what is said about it."""

    name: str
    text: str


def cataclysm(content: bytes) -> Iterator[Described]:
    """Yield the named things of one of Cataclysm's JSON files."""
    rows = json.loads(content)
    for row in rows if isinstance(rows, list) else [rows]:
        if isinstance(row, dict) and (name := _string(row.get("name"))) and (text := _string(row.get("description"))):
            yield Described(name, tidy(re.sub(r"<[^>]*>", "", text)))


def freeciv(content: bytes) -> Iterator[Described]:
    """Yield the topics of Freeciv's help."""
    for block in re.split(r"^\[help_", content.decode("utf-8", "replace"), flags=re.MULTILINE)[1:]:
        name = re.search(r'^name\s*=\s*_\("(?:\?\w+:)?\s*([^"]+)"', block, re.MULTILINE)
        texts = re.findall(r'_\("((?:[^"\\]|\\.|\\\n)*)"\)', block.partition("text")[2], re.DOTALL)
        for text in texts:
            plain = text.replace("\\\n", "").replace("\\n", " ").replace('\\"', '"')
            if name and "*" not in plain:
                yield Described(name[1], tidy(plain))


def freeciv_nation(content: bytes) -> Iterator[Described]:
    """Yield what Freeciv tells of a nation."""
    text = content.decode("utf-8", "replace")
    name = re.search(r'^plural\s*=\s*_\("(?:\?\w+:)?([^"]+)"', text, re.MULTILINE)
    legend = re.search(r'^legend\s*=\s*_\("((?:[^"\\]|\\.|\\\n)*)"\)', text, re.MULTILINE | re.DOTALL)
    if name and legend:
        yield Described(name[1], tidy(legend[1].replace("\\\n", "").replace("\\n", " ").replace('\\"', '"')))


def crawl(content: bytes) -> Iterator[Described]:
    """Yield the entries of one of Dungeon Crawl's descriptions: a key, a blank line and the text, between ``%%%%``."""
    for block in content.decode("utf-8", "replace").split("%%%%"):
        lines = [line for line in block.strip().splitlines() if not line.startswith(("#", ":"))]
        if len(lines) > 1 and "{{" not in block:
            yield Described(re.sub(r" (?:spell|card|ability|zombie)$", "", lines[0].strip()), tidy(" ".join(lines[1:])))


def freecol(content: bytes) -> Iterator[Described]:
    """Yield FreeCol's encyclopedia: descriptions, each with the name that stands under the same key."""
    lines = content.decode("utf-8", "replace").splitlines()
    rows = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    for key, text in rows.items():
        stem, _, last = key.rpartition(".")
        if last in ("description", "text") and "%" not in f"{text}{rows.get(f'{stem}.name')}":
            yield Described(rows.get(f"{stem}.name", "").split("|")[0], tidy(text.replace("\\n", " ")))


def _string(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("str") or value.get("str_sp") or ""
    return value if isinstance(value, str) else ""

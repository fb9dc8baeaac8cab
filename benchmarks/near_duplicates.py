"""What counts as a near-duplicate: texts with light edits, which should, and with edits of content, which shouldn't.

usage: python -m benchmarks.near_duplicates SCIFACT_FOLDER XQUAD.json

Each text is edited once in each way in which it can be, with the edited text as the candidate and the original kept.
"similar" is the share of edited texts above the similarity of 0.7, "near" of those that count as near-duplicates.
"""

import json
import random
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from secondpass.selection.similarity import Shingles

NEAR = 0.7
TEXTS = 200
FUNCTION_WORDS = r"\b(?:the|a|an|of|that|which|also|then|very|such)\s"
UNITS = ["mg", "g", "kg", "ml", "km", "cm", "hours", "days", "weeks", "years", "percent", "million", "billion"]
NUMBER_WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty", "first"]
FIRST_NAMES = ["Anna", "Maria", "Karl", "Peter", "Yusuf", "Ingrid"]
PACKAGES = ["bash", "dash", "libpng", "requests", "flask", "python-dateutil"]
BOILERPLATE = " Read more about this subject on our website, and share it with your friends."

Edit = Callable[[str, random.Random], str | None]
"""Edits a text; None where it can't be edited so."""


def _replace(pattern: str, others: list[str] | None = None) -> Edit:
    """Return an edit that replaces one match by another one of the list, or of the text itself, doubled in its end."""

    def edit(text: str, chance: random.Random) -> str | None:
        found = [*re.finditer(pattern, text)]
        if not found:
            return None
        match = chance.choice(found)
        known = [other for other in others or [f"{match[0]}ov"] if other.lower() not in text.lower()]
        return f"{text[: match.start()]}{chance.choice(known)}{text[match.end() :]}" if known else None

    return edit


def _number(text: str, chance: random.Random) -> str | None:
    found = [*re.finditer(r"\d+", text)]
    if not found:
        return None
    match = chance.choice(found)
    return f"{text[: match.start()]}{int(match[0]) + 1}{text[match.end() :]}"


def _without_function_words(text: str, chance: random.Random) -> str | None:
    return re.sub(FUNCTION_WORDS, lambda match: "" if chance.random() < 0.1 else match[0], text)


def _prefixed(prefix: str) -> Callable[[str, list[str]], tuple[str, str]]:
    return lambda text, names: (f"{prefix.format(names[0])} {text}", f"{prefix.format(names[1])} {text}")


LIGHT: Mapping[str, Edit] = {
    "function words dropped": _without_function_words,
    "punctuation changed": lambda text, _: text.replace(", ", " ").replace(". ", "; "),
    "case changed": lambda text, _: text.upper(),
    "boilerplate appended": lambda text, _: text + BOILERPLATE,
    "cut at the end": lambda text, _: text[: int(0.9 * len(text))].rpartition(" ")[0],
    "lines broken anew": lambda text, chance: re.sub(" ", lambda _: chance.choice("      \n"), text),
}
CONTENT: Mapping[str, Edit] = {
    "a number": _number,
    "a number word": _replace(rf"\b(?:{'|'.join(NUMBER_WORDS)})\b", NUMBER_WORDS),
    "a unit": _replace(rf"(?<=\d )(?:{'|'.join(UNITS)})\b", UNITS),
    "a name in a sentence": _replace(r"(?<=[a-z] )[A-Z][a-z]{2,}\b"),
    "a name that begins a sentence": _replace(r"(?:^|(?<=\. ))[A-Z][a-z]{3,}\b"),
    "an identifier": _replace(r"\b(?:[A-Z]{2,}|[a-z]+[A-Z]\w*|[A-Za-z]+-?\d+)\b"),
}
RECORDS: Mapping[str, Callable[[str, list[str]], tuple[str, str]]] = {
    "first name before the text": _prefixed("{} wrote this."),
    "name of a package before the text": _prefixed("Package: {}\nDescription:"),
}


def main(scifact: str, xquad: str) -> None:
    """Print a table for each collection."""
    lines = (Path(scifact) / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    articles = json.loads(Path(xquad).read_text(encoding="utf-8"))["data"]
    collections = {
        "SciFact": [json.loads(line)["text"] for line in lines],
        "XQuAD": [paragraph["context"] for article in articles for paragraph in article["paragraphs"]],
    }
    print("| collection | edit | texts | similar | near |\n|---|---|---|---|---|")
    for name, texts in collections.items():
        chance = random.Random(0)
        chosen = chance.sample(texts, min(TEXTS, len(texts)))
        for what, edit in {**LIGHT, **CONTENT}.items():
            edited = [(text, edit(text, chance)) for text in chosen]
            _print(name, what, [(text, other) for text, other in edited if other and other != text])
        for what, record in RECORDS.items():
            names = FIRST_NAMES if "first" in what else PACKAGES
            _print(name, what, [record(text, chance.sample(names, 2)) for text in chosen])


def _print(name: str, what: str, pairs: list[tuple[str, str]]) -> None:
    similar = near = 0
    for pair in pairs:
        shingles = Shingles(pair)
        similar += bool(shingles.similarities(0)[1] >= NEAR)
        near += any(position == 1 for position, _ in shingles.duplicates(0, NEAR))
    of = max(1, len(pairs))
    print(f"| {name} | {what} | {len(pairs)} | {similar / of:.1%} | {near / of:.1%} |")


if __name__ == "__main__":
    main(*sys.argv[1:])

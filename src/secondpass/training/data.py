"""Training data: questions with labelled texts, read from CSV, TSV and JSON Lines as pairs, lists or triplets."""

import csv
import hashlib
import io
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from secondpass.errors import InputError
from secondpass.jsonl import read_objects
from secondpass.records import Pair

Shape = Literal["pairs", "lists", "triplets"]
Located = tuple[str, Mapping[str, Any]]
"""Where a row stands, and its content."""
_QUERY = ("query", "question", "anchor", "sentence1", "premise")
_TEXT = ("text", "passage", "document", "sentence2", "hypothesis", "answer")
_LABEL = ("label", "score", "similarity")
_TEXTS, _LABELS = ("texts", "documents", "passages"), ("labels", "scores")
_FORMS = "query, text and label; query, positive and negative; or query, texts and labels"
_NAMED = 3  # questions that an error names
_LARGEST_GRADE = 20  # ranking losses compute 2 to the power of it
_LARGEST_FIELD = 2**24


@dataclass(frozen=True, slots=True)
class Group:
    """One question with its texts.

    :param query: The question.
    :param texts: The texts to score with it.
    :param labels: A grade or a similarity for each text, 0 for not relevant; None where there are no judgements.
    """

    query: str
    texts: tuple[str, ...]
    labels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the parts against each other."""
        if not self.query.strip():
            raise InputError("a group's query must not be empty")
        if not self.texts or not all(text.strip() for text in self.texts):
            raise InputError(f"a group must have texts, none of them empty; query {self.query!r:.80}")
        if self.labels is not None and len(self.labels) != len(self.texts):
            counts = f"{len(self.labels)} labels and {len(self.texts)} texts"
            raise InputError(f"a group must have a label for each text, got {counts}; query {self.query!r:.80}")

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of the group, in order."""
        return [Pair(self.query, text) for text in self.texts]


@dataclass(frozen=True, slots=True)
class Examples:
    """Questions with their texts, to learn from or to judge by.

    :param groups: The questions.
    :param shape: ``"pairs"`` with a label each; ``"lists"`` with grades, or without labels for a distillation;
        ``"triplets"``, whose labels are 1 for positives and 0 for negatives.
    """

    groups: tuple[Group, ...]
    shape: Shape = "lists"

    @property
    def labels(self) -> list[float]:
        """All labels, one group after another."""
        return [label for group in self.groups for label in group.labels or ()]

    @property
    def pairs(self) -> list[Pair]:
        """All pairs, one group after another."""
        return [pair for group in self.groups for pair in group.pairs]

    def split(self, share: float, seed: int) -> tuple["Examples", "Examples"]:
        """Return two parts that have no question in common, the second with that share of the questions, at least one.

        :raises InputError: If the share isn't between 0 and 1, or there is one question alone.
        """
        questions = list(dict.fromkeys(normalised(group.query) for group in self.groups))
        if not 0 < share < 1 or len(questions) < 2:
            raise InputError(
                "to hold data back for validation, the share must be between 0 and 1 and there must be two questions, "
                f"got {share:g} and {len(questions)}"
            )
        count = min(len(questions) - 1, max(1, round(share * len(questions))))
        held = set(random.Random(seed).sample(questions, count))
        parts: tuple[list[Group], list[Group]] = ([], [])
        for group in self.groups:
            parts[normalised(group.query) in held].append(group)
        return replace(self, groups=tuple(parts[0])), replace(self, groups=tuple(parts[1]))

    def summary(self) -> dict[str, Any]:
        """Return what a manifest says of the data: counts, and a SHA-256 over the content."""
        digest = hashlib.sha256()
        for group in self.groups:
            content = json.dumps([group.query, group.texts, group.labels])
            digest.update(content.encode("utf-8", "backslashreplace") + b"\n")
        return {"groups": len(self.groups), "pairs": len(self.pairs), "sha256": digest.hexdigest()}


def two_parts(train: Examples, validation: Examples | float, seed: int) -> tuple[Examples, Examples]:
    """Return the examples to learn from and those to judge by, which have no question in common.

    Questions are compared without case, punctuation and spacing.

    :param validation: Other examples, or the share of the questions to hold back.
    :raises InputError: If a part is empty, they have different shapes, or a question is in both.
    """
    if not isinstance(validation, Examples):
        return train.split(validation, seed)
    if validation.shape != train.shape:
        raise InputError(f"validation data must have the shape of the training data, {train.shape}")
    for name, part in (("train", train), ("validation", validation)):
        if not part.groups:
            raise InputError(f"the {name} data must hold at least one question, and it is empty")
    known = {normalised(group.query) for group in train.groups}
    leaks = [group.query for group in validation.groups if normalised(group.query) in known]
    if leaks:
        named = ", ".join(map(repr, leaks[:_NAMED]))
        raise InputError(f"no question may be in train and validation, and {len(leaks)} are, such as {named}")
    return train, validation


def read_table(path: str | Path) -> Examples:
    """Read examples from CSV, TSV or JSON Lines; the columns decide their shape.

    - query, text and label: pairs. Labels are 0 and 1, or other numbers; without a column of labels all are positive.
    - query, positive and negative (or negative_1, negative_2 ...): triplets.
    - query, texts and labels (JSON Lines alone): lists, with whole numbers as grades, 0 for not relevant. A
      distillation needs no labels.

    The names that data sets use elsewhere are known too: sentence1 and sentence2, premise and hypothesis, question and
    answer, score; case and blanks around a name don't matter. Other columns are ignored, every row has the same ones of
    these, and a question in several rows is one group.

    :raises InputError: If the file can't be read or is empty, or a row doesn't fit; it names the line.
    """
    rows = list(_read_rows(Path(path)))
    if not rows:
        raise InputError(f"{path} must hold at least one row, and it is empty")
    return examples_of(rows)


def examples_of(rows: Sequence[Located]) -> Examples:
    """Return examples from rows, each with a name of its place for errors; see ``read_table``.

    :raises InputError: If there are none, or one doesn't fit.
    """
    if not rows:
        raise InputError("the data must hold at least one row, and it is empty")
    rows = [(where, {str(name).strip().casefold(): value for name, value in row.items()}) for where, row in rows]
    where, columns = rows[0][0], _columns(rows[0][1])
    shape = _shape(rows[0][1])
    if shape is None:
        raise InputError(f"{where}: columns must be {_FORMS}; they are {', '.join(rows[0][1]) or 'none'}")
    groups: dict[str, dict[str, float | None]] = {}
    for where, row in rows:
        try:
            _check_columns(_columns(row), columns)
            _add(_PARSERS[shape](row), groups)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    labelled = ((query, own, [label for label in own.values() if label is not None]) for query, own in groups.items())
    return Examples(
        tuple(Group(query, tuple(own), tuple(labels) if labels else None) for query, own, labels in labelled), shape
    )


def read_texts(path: str | Path) -> list[str]:
    """Read the texts of a corpus from a table with a column of texts, titles before them where there are some.

    :raises InputError: If the file can't be read, or a row has no text.
    """
    texts = (f"{row.get('title') or ''}\n{_string(row, _TEXT)}".strip() for _, row in _read_rows(Path(path)))
    return list(dict.fromkeys(texts))


def normalised(query: str) -> str:
    """Return a question without case, punctuation and spacing, to compare it with others."""
    return " ".join("".join(c if c.isalnum() else " " for c in query.casefold()).split())


def _read_rows(path: Path) -> Iterator[Located]:
    """Yield each row with its file and line."""
    dialect = {".csv": "excel", ".tsv": "excel-tab"}.get(path.suffix.casefold())
    if dialect is None:
        yield from read_objects(path)
        return
    csv.field_size_limit(_LARGEST_FIELD)
    lines = csv.reader(io.StringIO(_read(path), newline=""), dialect=dialect)
    try:
        head = next(lines, [])
        if len(set(head)) < len(head):
            raise InputError(f"{path.name}, line 1: every column must have a name of its own, got {', '.join(head)}")
        for row in filter(None, lines):
            where = f"{path.name}, line {lines.line_num}"
            if len(row) != len(head):
                raise InputError(
                    f"{where}: there must be {len(head)} fields, as in the first line, got {len(row)}: a text that "
                    "holds the delimiter, a quote or a line break must be in quotes"
                )
            yield where, dict(zip(head, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{path.name}, line {lines.line_num}: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data must be a readable CSV, TSV or JSON Lines file in UTF-8: {path}: {error}") from error


def _shape(row: Mapping[str, Any]) -> Shape | None:
    if not _column(row, _QUERY):
        return None
    if _column(row, _TEXTS):
        return "lists"
    if "positive" in row:
        return "triplets"
    return "pairs" if _column(row, _TEXT) else None


def _columns(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that are read, of whatever shape."""
    found = [_column(row, names) for names in (_QUERY, _TEXTS, _LABELS if _column(row, _TEXTS) else _LABEL)]
    found.append("positive" if "positive" in row else _column(row, _TEXT))
    return [name for name in found if name] + _negatives(row)


def _check_columns(found: Sequence[str], wanted: Sequence[str]) -> None:
    """Check a row's columns: a label that is missing would be read as 1, and a negative be lost.

    :raises InputError: If they aren't those of the first row.
    """
    if found != wanted:
        names = f"{', '.join(wanted)}; got {', '.join(found) or 'none'}"
        raise InputError(f"every row must have the same columns as the first, {names}")


def _negatives(row: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in row if name == "negative" or name.startswith("negative_"))


def _column(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _string(row: Mapping[str, Any], names: Sequence[str]) -> str:
    name = _column(row, names)
    value = row[name] if name else None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"every row must have the same shape, with text in {name or names[0]!r}, got {value!r:.60}")
    return value


def _pair(row: Mapping[str, Any]) -> Group:
    name = _column(row, _LABEL)
    try:
        label = float(row[name]) if name else 1.0  # CSV has strings
    except (TypeError, ValueError):
        label = math.nan
    if not math.isfinite(label):
        raise InputError(f"a label must be a finite number, got {row[name or '']!r:.60}")
    return Group(_string(row, _QUERY), (_string(row, _TEXT),), (label,))


def _triplet(row: Mapping[str, Any]) -> Group:
    names = _negatives(row) or ["negative"]
    texts = (_string(row, ["positive"]), *(_string(row, [name]) for name in names))
    return Group(_string(row, _QUERY), texts, (1.0, *[0.0] * len(names)))


def _list(row: Mapping[str, Any]) -> Group:
    texts, labels = (row.get(_column(row, names) or "") for names in (_TEXTS, _LABELS))
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"every row must have the same shape, with a list of strings as texts, got {texts!r:.60}")
    if not _column(row, _LABELS):
        return Group(_string(row, _QUERY), tuple(texts))
    if not isinstance(labels, (list, tuple)) or not all(grade in range(_LARGEST_GRADE + 1) for grade in labels):
        raise InputError(f"labels must be a list of whole numbers from 0 to {_LARGEST_GRADE}, got {labels!r:.60}")
    return Group(_string(row, _QUERY), tuple(texts), tuple(map(float, labels)))


_PARSERS = {"pairs": _pair, "triplets": _triplet, "lists": _list}


def _add(new: Group, groups: dict[str, dict[str, float | None]]) -> None:
    """Add a row's texts to those of its question, each once.

    :raises InputError: If a pair has two labels.
    """
    own = groups.setdefault(new.query, {})
    for text, label in zip(new.texts, new.labels or [None] * len(new.texts), strict=True):
        if own.setdefault(text, label) != label:
            raise InputError(
                f"a pair must have one label, and query {new.query!r:.60} with text {text!r:.60} had another"
            )

"""Labelled examples out of tables: pairs, lists and triplets, from CSV, TSV and JSON Lines."""

import csv
import io
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from secondpass.errors import InputError
from secondpass.training.data import Group, normalised

Shape = Literal["pairs", "lists", "triplets", "margins"]
Located = tuple[str, Mapping[str, Any]]
"""Where a row stands, and its content."""
_QUERY = ("query", "question", "anchor", "sentence1", "premise")
_TEXT = ("text", "passage", "document", "sentence2", "hypothesis", "answer")
_LABEL = ("label", "score", "similarity")
_TEXTS, _LABELS = ("texts", "documents", "passages"), ("labels", "scores")
_FORMS = "query, text and label; query, positive and negative (and margin); or query, texts and labels"
_LARGEST_GRADE = 20  # ranking losses compute 2 to the power of it
_LARGEST_FIELD = 2**24


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled examples, as groups.

    :param groups: The questions with their texts and labels. Texts of one question are in one group, but for margins.
    :param shape: ``"pairs"`` with a label each; ``"lists"`` with grades; ``"triplets"``, whose labels are 1 for
        positives and 0 for negatives; ``"margins"``, triplets whose first label is a teacher's difference of scores.
    :param classes: The names of classes, where the labels are their numbers.
    """

    groups: tuple[Group, ...]
    shape: Shape
    classes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[float]:
        """All labels, one group after another."""
        return [label for group in self.groups for label in group.labels or ()]

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


def read_table(path: str | Path) -> Examples:
    """Read labelled examples from CSV, TSV or JSON Lines; the columns decide their shape.

    - query, text and label: pairs. Labels are 0 and 1, numbers, or names of classes; without a label all are positive.
    - query, positive and negative (or negative_1, negative_2 ...): triplets; with margin, a teacher's difference.
    - query, texts and labels (JSON Lines alone): lists, with whole numbers as grades, 0 for not relevant.

    The names that data sets use elsewhere are known too: sentence1 and sentence2, premise and hypothesis, question and
    answer, score. Other columns are ignored.

    :raises InputError: If the file can't be read or is empty, or a row doesn't fit; it names the line.
    """
    path = Path(path)
    try:
        return examples_of(list(_read_rows(path)))
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def examples_of(rows: Sequence[Located]) -> Examples:
    """Return examples from rows, each with a name of its place for errors; see ``read_table``.

    :raises InputError: If there are none, or one doesn't fit.
    """
    if not rows:
        raise InputError("the data must hold at least one row, and it is empty")
    first = rows[0][1]
    if _column(first, _QUERY) and _column(first, _TEXTS):
        return Examples(tuple(_each(rows, _list)), "lists")
    if _column(first, _QUERY) and "positive" in first:
        if "margin" in first:
            return Examples(tuple(_each(rows, _margin)), "margins")
        pairs = [pair for own in _each(rows, _triplet) for pair in own]
        return Examples(_grouped(pairs), "triplets")
    if _column(first, _QUERY) and _column(first, _TEXT):
        labelled = list(_each(rows, _pair))
        classes = _classes([(where, label) for where, _, _, label in labelled])
        number = {name: float(index) for index, name in enumerate(classes)}
        numbered = [(where, q, t, number[str(label)] if classes else float(label)) for where, q, t, label in labelled]
        return Examples(_grouped(numbered), "pairs", classes)
    raise InputError(f"columns must be {_FORMS}; they are {', '.join(map(str, first)) or 'none'}")


def read_texts(path: str | Path) -> list[str]:
    """Read the texts of a corpus from a table with a column of texts, titles before them where there are some.

    :raises InputError: If the file can't be read, or a row has no text.
    """
    rows = list(_read_rows(Path(path)))
    texts = list(_each(rows, lambda _, row: f"{row.get('title') or ''}\n{_string(row, _TEXT)}".strip()))
    return list(dict.fromkeys(texts))


def _read_rows(path: Path) -> Iterator[Located]:
    """Yield each row with the number of its line."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a table must be a readable CSV, TSV or JSON Lines file in UTF-8: {error}") from error
    if path.suffix.casefold() not in {".csv", ".tsv"}:
        for number, line in enumerate(content.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", _json_object(number, line)
        return
    csv.field_size_limit(_LARGEST_FIELD)
    lines = csv.DictReader(
        io.StringIO(content, newline=""), dialect="excel-tab" if path.suffix.casefold() == ".tsv" else "excel"
    )
    try:
        for row in lines:
            yield f"line {lines.line_num}", {name: value for name, value in row.items() if value is not None}
    except csv.Error as error:
        raise InputError(f"line {lines.line_num}: {error}") from error


def _json_object(number: int, line: str) -> Mapping[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(f"line {number}: a row must be JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"line {number}: a row must be a JSON object, got {type(content).__name__}")
    return content


def _each(rows: Iterable[Located], parse: Callable[[str, Mapping[str, Any]], Any]) -> Iterator[Any]:
    """Yield each row parsed; errors name its place."""
    for where, row in rows:
        try:
            yield parse(where, row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error


def _column(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _string(row: Mapping[str, Any], names: Sequence[str]) -> str:
    name = _column(row, names)
    value = row[name] if name else None
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"every row must have the same shape, with text in {name or names[0]!r}, got {value!r:.60}")
    return value


def _number(value: Any) -> float:
    """Return a finite number; of strings too, as CSV has them."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"a label must be a number, got {value!r:.60}") from error
    if not math.isfinite(number):
        raise InputError(f"a label must be a finite number, got {value!r:.60}")
    return number


def _pair(where: str, row: Mapping[str, Any]) -> tuple[str, str, str, float | str]:
    name = _column(row, _LABEL)
    label: Any = row[name] if name else 1.0
    if label is None or (isinstance(label, str) and not label.strip()):
        raise InputError(f"{name!r} must have a value in every row")
    if isinstance(label, str):
        try:
            label = float(label)
        except ValueError:
            return where, _string(row, _QUERY), _string(row, _TEXT), label.strip()
    return where, _string(row, _QUERY), _string(row, _TEXT), _number(label)


def _triplet(where: str, row: Mapping[str, Any]) -> list[tuple[str, str, str, float]]:
    query = _string(row, _QUERY)
    names = [name for name in row if name == "negative" or name.startswith("negative_")]
    negatives = [_string(row, [name]) for name in names or ["negative"]]
    return [(where, query, _string(row, ["positive"]), 1.0), *((where, query, text, 0.0) for text in negatives)]


def _margin(_: str, row: Mapping[str, Any]) -> Group:
    texts = (_string(row, ["positive"]), _string(row, ["negative"]))
    return Group(_string(row, _QUERY), texts, (_number(row.get("margin")), 0.0))


def _list(_: str, row: Mapping[str, Any]) -> Group:
    texts, labels = (row.get(_column(row, names) or "") for names in (_TEXTS, _LABELS))
    if not isinstance(texts, list) or not isinstance(labels, list) or not all(isinstance(text, str) for text in texts):
        raise InputError("every row must have the same shape, with a list of strings as texts and one of labels")
    grades = tuple(map(_number, labels))
    if not all(grade in range(_LARGEST_GRADE + 1) for grade in grades):
        raise InputError(f"labels of a list must be whole numbers from 0 to {_LARGEST_GRADE}, got {labels!r:.60}")
    return Group(_string(row, _QUERY), tuple(texts), grades)


def _classes(labels: Sequence[tuple[str, float | str]]) -> tuple[str, ...]:
    """Return the names of classes, sorted; none where all labels are numbers."""
    names = [label for _, label in labels if isinstance(label, str)]
    if names and len(names) < len(labels):
        where = next(where for where, label in labels if isinstance(label, str) != isinstance(labels[0][1], str))
        raise InputError(f"{where}: labels must be all numbers or all names, and here they change")
    return tuple(sorted(set(names)))


def _grouped(pairs: Sequence[tuple[str, str, str, float]]) -> tuple[Group, ...]:
    """Gather the pairs of each question, each once.

    :raises InputError: If a pair has two labels.
    """
    groups: dict[str, dict[str, float]] = {}
    for where, query, text, label in pairs:
        own = groups.setdefault(query, {})
        if own.setdefault(text, label) != label:
            raise InputError(
                f"{where}: a pair must have one label, and query {query!r:.60} with text {text!r:.60} had another"
            )
    return tuple(Group(query, tuple(own), tuple(own.values())) for query, own in groups.items())

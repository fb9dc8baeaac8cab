"""Training data of a distillation: questions with their texts, and the rows that stay together in a batch."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondpass.errors import InputError
from secondpass.scores import Pair
from secondpass.training.settings import DistillSettings

_NAMED = 3  # questions that an error names
_CHUNK = 1000  # texts tokenised at once


@dataclass(frozen=True, slots=True)
class Group:
    """One question with its texts.

    :param query: The question.
    :param texts: The texts to score with it.
    :param labels: A grade for each text, 0 for not relevant; None where there are no judgements. Fine-tuning also
        takes similarities, teachers' scores, and numbers of classes.
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
class TrainingData:
    """The groups to learn from, and those to judge by; no question may be in both."""

    train: Sequence[Group]
    validation: Sequence[Group]


@dataclass(frozen=True, slots=True)
class Row:
    """Texts of one question that stay together in a batch.

    :param group: The number of their group.
    :param positions: Which of the group's texts.
    :param length: The longest pair in tokens, truncated to the model's length.
    """

    group: int
    positions: tuple[int, ...]
    length: int


def read_groups(path: Path) -> list[Group]:
    """Read groups from JSON Lines: ``{"query": "...", "texts": ["...", ...], "labels": [1, 0, ...]}``.

    Labels may be left out, and other keys are ignored.

    :raises InputError: If the file is missing or empty, or a line isn't such an object; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would split at U+2028, which JSON may hold
    except OSError as error:
        raise InputError(f"groups must come from a readable JSON Lines file, and {path} isn't: {error}") from error
    groups = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                groups.append(_parse(line))
            except InputError as error:
                raise InputError(f"{path.name}, line {number}: {error}") from error
    if not groups:
        raise InputError(f"{path} must hold at least one group, and it is empty")
    return groups


def check_split(train: Sequence[Group], validation: Sequence[Group], *, within_questions: bool = False) -> None:
    """Check that there are training and validation data, and that no question is in both.

    Questions are compared without case, punctuation and spacing.

    :param within_questions: Whether the student learns differences between texts of one question.
    :raises InputError: If either is empty or has no question with two texts, or questions are in both.
    """
    for name, groups in (("train", train), ("validation", validation)):
        if not groups:
            raise InputError(f"the {name} data must hold at least one group, and it is empty")
    check_leaks(train, validation)
    for name, groups in (("train", train if within_questions else ()), ("validation", validation)):
        if groups and all(len(group.texts) == 1 for group in groups):
            raise InputError(f"the {name} data must hold a question with two texts or more, all {len(groups)} have one")


def check_leaks(train: Sequence[Group], validation: Sequence[Group], *, whole_pairs: bool = False) -> None:
    """Check that no question is in both parts, compared without case, punctuation and spacing.

    :param whole_pairs: Whether only a pair that is in both is a leak, in either order: a premise has many hypotheses.
    :raises InputError: If one is.
    """

    def keys(group: Group) -> list[Any]:
        query = normalised(group.query)
        return [frozenset((query, normalised(text))) for text in group.texts] if whole_pairs else [query]

    known = {key for group in train for key in keys(group)}
    leaks = [group.query for group in validation if not known.isdisjoint(keys(group))]
    if leaks:
        named = ", ".join(map(repr, leaks[:_NAMED]))
        what = "pair" if whole_pairs else "question"
        raise InputError(f"no {what} may be in train and validation, and {len(leaks)} are, such as {named}")


def groups_hash(groups: Iterable[Group]) -> str:
    """Return a SHA-256 over the groups' content, for a manifest."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(json.dumps([group.query, group.texts, group.labels]).encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def summary(groups: Sequence[Group]) -> dict[str, Any]:
    """Return what a manifest says of data: counts, and a hash over the content."""
    pairs = sum(len(group.texts) for group in groups)
    return {"groups": len(groups), "pairs": pairs, "sha256": groups_hash(groups)}


def score_columns(
    groups: Sequence[Group], rows: Sequence[Row], scores: Sequence[Sequence[float]] | None
) -> dict[str, list[Any]]:
    """Return columns of questions and of lists of texts and, with scores for each group, of lists of these."""
    columns: dict[str, list[Any]] = {
        "query": [groups[row.group].query for row in rows],
        "texts": [[groups[row.group].texts[i] for i in row.positions] for row in rows],
    }
    if scores is not None:
        columns["label"] = [[scores[row.group][i] for i in row.positions] for row in rows]
    return columns


def make_rows(groups: Sequence[Group], settings: DistillSettings, tokenizer: Any, max_length: int) -> list[Row]:
    """Split groups into rows of at most ``group_size`` texts, drawn by the seed.

    :raises InputError: If pairs are longer than the model reads, and truncation isn't allowed.
    """
    rows = []
    for number, lengths in enumerate(pair_lengths(groups, tokenizer, max_length, truncate=settings.truncate)):
        order = random.Random(f"{settings.seed} {number}").sample(range(len(lengths)), len(lengths))
        for start in range(0, len(order), settings.group_size):
            positions = tuple(order[start : start + settings.group_size])
            rows.append(Row(number, positions, max(lengths[position] for position in positions)))
    return rows


def pair_lengths(groups: Sequence[Group], tokenizer: Any, max_length: int, *, truncate: bool) -> list[list[int]]:
    """Return each pair's length in tokens, special tokens counted, at most ``max_length``.

    :raises InputError: If pairs are longer, and truncation isn't allowed.
    """
    lengths = full_lengths(groups, tokenizer)
    longer = [length for own in lengths for length in own if length > max_length]
    if longer and not truncate:
        raise InputError(
            f"pairs must be at most {max_length} tokens, and {len(longer)} are longer, up to {max(longer)}: cut their "
            "texts, or set truncate=True"
        )
    return [[min(length, max_length) for length in own] for own in lengths]


def full_lengths(groups: Sequence[Group], tokenizer: Any) -> list[list[int]]:
    """Return each pair's length in tokens, special tokens counted; each text is tokenised once."""
    unique = list(dict.fromkeys(part for group in groups for part in (group.query, *group.texts)))
    known: dict[str, int] = {}
    for start in range(0, len(unique), _CHUNK):
        chunk = unique[start : start + _CHUNK]
        ids = tokenizer(chunk, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        known |= dict(zip(chunk, map(len, ids), strict=True))
    special = tokenizer.num_special_tokens_to_add(pair=True)
    return [[known[group.query] + known[text] + special for text in group.texts] for group in groups]


def _parse(line: str) -> Group:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(f"a group must be JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("query"), str):
        raise InputError('a group must be an object with a string "query"')
    texts, labels = content.get("texts"), content.get("labels")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError('"texts" must be a list of strings')
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, int) for label in labels)):
        raise InputError('"labels" must be a list of whole numbers')
    return Group(content["query"], tuple(texts), None if labels is None else tuple(labels))


def normalised(query: str) -> str:
    """Return a question without case, punctuation and spacing, to compare it with others."""
    return " ".join("".join(c if c.isalnum() else " " for c in query.casefold()).split())

"""Training data: questions with their texts, and the batches that they are trained in."""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler

from secondpass.errors import InputError
from secondpass.scores import Pair
from secondpass.training.settings import DistillSettings

_NAMED = 3  # questions that an error names
_CHUNK = 1000  # texts tokenised at once
_WINDOW = 1024  # rows that are sorted by length together: little padding, and still a random order


@dataclass(frozen=True, slots=True)
class Group:
    """One question with its texts.

    :param query: The question.
    :param texts: The texts to score with it.
    :param labels: A grade for each text, 0 for not relevant; None where there are no judgements.
    """

    query: str
    texts: tuple[str, ...]
    labels: tuple[int, ...] | None = None

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
    known = {_normalised(group.query) for group in train}
    leaks = [group.query for group in validation if _normalised(group.query) in known]
    if leaks:
        named = ", ".join(map(repr, leaks[:_NAMED]))
        raise InputError(f"no question may be in train and validation, and {len(leaks)} are, such as {named}")
    for name, groups in (("train", train if within_questions else ()), ("validation", validation)):
        if groups and all(len(group.texts) == 1 for group in groups):
            raise InputError(f"the {name} data must hold a question with two texts or more, all {len(groups)} have one")


def groups_hash(groups: Iterable[Group]) -> str:
    """Return a SHA-256 over the groups' content, for a manifest."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(json.dumps([group.query, group.texts, group.labels]).encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


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
    """Return each pair's length in tokens, special tokens counted, at most ``max_length``; each text is tokenised once.

    :raises InputError: If pairs are longer, and truncation isn't allowed.
    """
    unique = list(dict.fromkeys(part for group in groups for part in (group.query, *group.texts)))
    known: dict[str, int] = {}
    for start in range(0, len(unique), _CHUNK):
        chunk = unique[start : start + _CHUNK]
        ids = tokenizer(chunk, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        known |= dict(zip(chunk, map(len, ids), strict=True))
    special = tokenizer.num_special_tokens_to_add(pair=True)
    lengths = [[known[group.query] + known[text] + special for text in group.texts] for group in groups]
    longer = [length for own in lengths for length in own if length > max_length]
    if longer and not truncate:
        raise InputError(
            f"pairs must be at most {max_length} tokens, and {len(longer)} are longer, up to {max(longer)}: cut their "
            "texts, or set truncate=True"
        )
    return [[min(length, max_length) for length in own] for own in lengths]


class TokenBatchSampler(DefaultBatchSampler):
    """Draws batches under a ceiling of padded tokens, the same ones for the same seed, in a new order each epoch.

    Which rows share a batch stays fixed, so that every epoch has the same number of steps, and a resumed run
    continues with exactly the batches that are left.

    :param dataset: The rows as the trainer reads them.
    :param rows: The rows' lengths and sizes.
    :param ceiling: Padded tokens in a batch; a row that is larger makes a batch of its own.
    :param seed: Of the order.
    :param world: How many devices share the batches; all get the same number, and the remainder is left out.
    """

    def __init__(self, dataset: Any, rows: Sequence[Row], *, ceiling: int, seed: int, world: int = 1) -> None:
        super().__init__(dataset, batch_size=1, drop_last=False, seed=seed)
        self.batch_size = None  # they differ: with a number here, sharding would drop batches of any other size
        order = list(range(len(rows)))
        random.Random(seed).shuffle(order)
        windows = (order[start : start + _WINDOW] for start in range(0, len(order), _WINDOW))
        batches = [batch for window in windows for batch in _fill(window, rows, ceiling)]
        self._batches = random.Random(seed).sample(batches, len(batches) // world * world)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches in this epoch's order."""
        yield from random.Random(f"{self.seed} {self.epoch}").sample(self._batches, len(self._batches))

    def __len__(self) -> int:
        """Return the number of batches, which is the same in every epoch."""
        return len(self._batches)


def _fill(window: Sequence[int], rows: Sequence[Row], ceiling: int) -> Iterator[list[int]]:
    batch: list[int] = []
    pairs = longest = 0
    for number in sorted(window, key=lambda number: -rows[number].length):
        size = len(rows[number].positions)
        if batch and (pairs + size) * longest > ceiling:
            yield batch
            batch, pairs = [], 0
        longest = longest if batch else rows[number].length
        batch.append(number)
        pairs += size
    if batch:
        yield batch


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


def _normalised(query: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in query.casefold()).split())

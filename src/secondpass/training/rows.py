"""From groups to the rows that the trainer reads, with their lengths in the student's own tokens."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from secondpass.errors import InputError
from secondpass.training.groups import Group
from secondpass.training.settings import DistillSettings

_CHUNK = 1000  # texts tokenised at once


@dataclass(frozen=True, slots=True)
class Row:
    """Texts of one question that stay together in a batch.

    :param group: The number of their group.
    :param positions: Which of the group's texts.
    :param length: The longest pair in tokens, as the model will see it.
    """

    group: int
    positions: tuple[int, ...]
    length: int


def make_rows(groups: Sequence[Group], settings: DistillSettings, tokenizer: Any, max_length: int) -> list[Row]:
    """Cut groups into rows of at most ``group_size`` texts, drawn by the seed.

    :raises InputError: If pairs are longer than the model, and truncation isn't allowed.
    """
    lengths = checked_lengths(groups, settings, tokenizer, max_length)
    rows = []
    for number, own in enumerate(lengths):
        order = random.Random(f"{settings.seed} {number}").sample(range(len(own)), len(own))
        for start in range(0, len(order), settings.group_size):
            positions = tuple(order[start : start + settings.group_size])
            longest = max(own[position] for position in positions)
            rows.append(Row(number, positions, min(longest, max_length)))
    return rows


def checked_lengths(
    groups: Sequence[Group], settings: DistillSettings, tokenizer: Any, max_length: int
) -> list[list[int]]:
    """Return each pair's length in tokens.

    :raises InputError: If pairs are longer than the model, and truncation isn't allowed.
    """
    lengths = pair_lengths(groups, tokenizer)
    longer = sum(length > max_length for own in lengths for length in own)
    if longer and not settings.truncate:
        raise InputError(
            f"pairs must be at most {max_length} tokens, and {longer} are longer, up to "
            f"{max(max(own) for own in lengths)}: cut their texts, or set truncate=True"
        )
    return lengths


def pair_lengths(groups: Sequence[Group], tokenizer: Any) -> list[list[int]]:
    """Return each pair's length in tokens, special tokens counted; each text is tokenised once."""
    lengths = _lengths((part for group in groups for part in (group.query, *group.texts)), tokenizer)
    special = tokenizer.num_special_tokens_to_add(pair=True)
    return [[lengths[group.query] + lengths[text] + special for text in group.texts] for group in groups]


def _lengths(texts: Iterable[str], tokenizer: Any) -> dict[str, int]:
    unique = list(dict.fromkeys(texts))
    lengths: dict[str, int] = {}
    for start in range(0, len(unique), _CHUNK):
        chunk = unique[start : start + _CHUNK]
        ids = tokenizer(chunk, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        lengths |= dict(zip(chunk, map(len, ids), strict=True))
    return lengths

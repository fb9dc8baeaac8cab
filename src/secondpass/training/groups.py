"""What is learned from: questions, each with the texts to be told apart for it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from secondpass.errors import InputError
from secondpass.scores import Pair

_NAMED = 3  # leaking questions that an error names


@dataclass(frozen=True, slots=True)
class Group:
    """One question with its texts.

    :param query: The question.
    :param texts: What is read with it.
    :param labels: A grade for each text, 0 for not relevant; None where nobody judged them.
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
            raise InputError(
                f"a group must have a label for each text, got {len(self.labels)} labels and {len(self.texts)} texts; "
                f"query {self.query!r:.80}"
            )

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of the group, in order."""
        return [Pair(self.query, text) for text in self.texts]


def read_groups(path: Path) -> list[Group]:
    """Read groups from JSON Lines: ``{"query": "...", "texts": ["...", ...], "labels": [1, 0, ...]}``.

    Labels may be left out, and other keys are ignored.

    :raises InputError: If the file is missing or empty, or a line isn't such an object; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # and at nothing else: JSON may hold U+2028 as it is
    except OSError as error:
        raise InputError(f"groups must come from a readable JSON Lines file, and {path} isn't: {error}") from error
    groups = [_parse(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not groups:
        raise InputError(f"{path} must hold at least one group, and it is empty")
    return groups


def check_split(train: Sequence[Group], validation: Sequence[Group], *, within_questions: bool = False) -> None:
    """Check that there is something to learn from and something to judge by, and that no question is in both.

    Questions are compared without case, punctuation and spacing.

    :param within_questions: Whether what is learned are differences of texts of one question.
    :raises InputError: If either is empty or has no two texts to tell apart, or questions leak from one into the other.
    """
    for name, groups in (("train", train), ("validation", validation)):
        if not groups:
            raise InputError(f"the {name} data must hold at least one group, and it is empty")
    known = {_normalised(group.query) for group in train}
    leaking = [group.query for group in validation if _normalised(group.query) in known]
    if leaking:
        raise InputError(
            f"no question may be in both train and validation, and {len(leaking)} are, such as "
            f"{', '.join(repr(query) for query in leaking[:_NAMED])}: take them out of one"
        )
    for name, groups in (("train", train if within_questions else ()), ("validation", validation)):
        if groups and all(len(group.texts) == 1 for group in groups):
            raise InputError(
                f"the {name} data must hold a question with two texts to tell apart, and all {len(groups)} have one"
            )


def groups_hash(groups: Iterable[Group]) -> str:
    """Return a SHA-256 over the groups' content, for a manifest."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(json.dumps([group.query, group.texts, group.labels]).encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def _parse(path: Path, number: int, line: str) -> Group:
    where = f"{path.name}, line {number}"
    try:
        content = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: a group must be JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("query"), str):
        raise InputError(f'{where}: a group must be an object with a string "query"')
    texts, labels = content.get("texts"), content.get("labels")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: "texts" must be a list of strings')
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, int) for label in labels)):
        raise InputError(f'{where}: "labels" must be a list of whole numbers')
    try:
        return Group(content["query"], tuple(texts), None if labels is None else tuple(labels))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _normalised(query: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in query.casefold()).split())

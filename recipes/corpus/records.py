"""The records that the steps of the recipe hand to each other."""

import hashlib
import random
import re
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """How a passage reads, which decides the queries it can answer."""

    PROSE = "prose"
    DEFINITION = "definition"
    ABSTRACT = "abstract"


@dataclass(frozen=True, slots=True)
class Passage:
    """One candidate.

    :param source: The name of the source it comes from, as in the manifest.
    :param text: What a model reads.
    :param title: What it is about: a heading, or the word that is defined; may be empty.
    :param topic: The wider title that it stands under; may be empty.
    :param gloss: For a definition, the definition alone.
    :param field: For a definition, what sort of thing it is (``animal``, ``state``); may be empty.
    :param siblings: For a definition, other things of its kind.
    :param key: Names the passage in qrels, where it has such a name.
    """

    source: str
    text: str
    kind: Kind = Kind.PROSE
    title: str = ""
    topic: str = ""
    gloss: str = ""
    field: str = ""
    siblings: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the passages known to answer it, by their position in the pool.

    :param source: The source of its passage.
    :param judged: Whether the answers are a person's judgement; else the query was merely made from that passage.
    """

    text: str
    source: str
    answers: tuple[int, ...] = ()
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A line of the output."""

    id: str
    query: str
    texts: tuple[str, ...]
    source: str
    labels: tuple[int, ...] = field(default=())

    def as_json(self) -> dict[str, object]:
        """Return the group as it is written; labels only where a person gave them."""
        row: dict[str, object] = {"id": self.id, "query": self.query, "texts": list(self.texts), "source": self.source}
        if self.labels:
            row["labels"] = list(self.labels)
        return row


def normalised(text: str) -> str:
    """Return what is left of a text without case, punctuation and spacing: two queries with the same are one."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def seeded(*parts: object) -> random.Random:
    """Return a random generator that depends on these parts alone, whatever ran before it."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))

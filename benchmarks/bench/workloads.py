"""What a benchmark scores: short passages and longer chunks, of TREC DL 2019 or Python's documentation."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secondpass.cli.ask.passages import python_reference

KINDS = ("passages", "chunks")
CHUNK_TOKENS = (150, 512)
_TOKENS_A_WORD = 1.35  # of English with BERT's word pieces


@dataclass(frozen=True, slots=True)
class Topic:
    """A question with its texts: of a source, or the candidates of one repetition.

    :param query: The question.
    :param texts: Its texts.
    :param grades: Their grades, by position, where there are judgements.
    """

    query: str
    texts: tuple[str, ...]
    grades: Mapping[int, int] = field(default_factory=dict)


def topics_of(assets: Path | None) -> tuple[str, list[Topic]]:
    """Return the source's name and its topics: TREC DL 2019, else Python's documentation.

    :param assets: The folder with ``data/trec-dl``, where there is one.
    """
    if assets and (assets / "data" / "trec-dl").is_dir():
        return "TREC DL 2019, BM25's top 100", _dl19(assets / "data" / "trec-dl")
    return "Python's documentation", _reference()


def tasks(topics: Sequence[Topic], kind: str, count: int, seed: int = 0) -> Iterator[Topic]:
    """Yield tasks of so many candidates, a fresh question each until all are used.

    ``"passages"`` are the texts as they are, filled up with those of other questions. ``"chunks"`` are joined texts
    of 150 to 512 tokens, evenly spread.
    """
    chance = random.Random(seed)
    pool = [text for topic in topics for text in topic.texts]
    words = " ".join(pool).split()
    while True:
        for topic in topics:
            if kind == "passages":
                own = topic.texts[:count]
                others = chance.choices(pool, k=count - len(own))
                grades = {position: grade for position, grade in topic.grades.items() if position < count}
                yield Topic(topic.query, (*own, *others), grades)
            else:
                yield Topic(topic.query, tuple(_chunk(words, chance) for _ in range(count)))


def _chunk(words: Sequence[str], chance: random.Random) -> str:
    length = min(len(words), int(chance.uniform(*CHUNK_TOKENS) / _TOKENS_A_WORD))
    start = chance.randrange(len(words) - length + 1)
    return " ".join(words[start : start + length])


def _dl19(folder: Path) -> list[Topic]:
    grades: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.dl19-passage.txt").read_text("utf-8").splitlines():
        query, _, text, grade = line.split()
        grades.setdefault(query, {})[text] = int(grade)
    topics = []
    for topic in json.loads((folder / "bm25_top100_dl19.json").read_text("utf-8")):
        hits = topic["hits"]
        judged = grades.get(str(hits[0]["qid"]), {})
        own = {position: judged.get(str(hit["docid"]), 0) for position, hit in enumerate(hits)}
        topics.append(Topic(topic["query"], tuple(hit["content"] for hit in hits), own))
    return topics


def _reference() -> list[Topic]:
    """Return the sections of the reference: the first line of a topic's first passage asks for its passages."""
    by_topic: dict[str, list[str]] = {}
    for name, text in python_reference().items():
        by_topic.setdefault(name.partition("#")[0], []).append(text)
    return [
        Topic(f"{name}: {own[0].splitlines()[0]}"[:120], tuple(text[:400] for text in own))
        for name, own in by_topic.items()
    ]

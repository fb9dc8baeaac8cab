"""Puts each query together with its answer, candidates that are hard to tell from it, and easy ones."""

import random
from collections.abc import Iterable, Sequence

from recipes.corpus.mining import Positions
from recipes.corpus.records import Group, Passage, Query, seeded

_ANSWERS = 3  # at most, of those that are known
_EASY = 0.25  # the share of candidates drawn from the whole pool
_STEEP = 6.0  # the larger, the more evenly the ranks are drawn from


def groups(
    prefix: str,
    positions: Iterable[int],
    queries: Sequence[Query],
    pool: Sequence[Passage],
    found: Sequence[Positions],
    *,
    size: int,
    seed: int,
) -> list[Group]:
    """Return the groups of the queries at some positions.

    :param prefix: What the groups' ids begin with.
    :param found: Ranked positions in the pool for every query, one table for each way of looking.
    :param size: How many texts a group has; all of them, where the pool has fewer.
    """
    made = []
    for number, position in enumerate(positions):
        query = queries[position]
        chosen = _chosen(query, len(pool), [ranked[position].tolist() for ranked in found], size, seed)
        labels = tuple(int(place in query.answers) for place in chosen) if query.judged else ()
        texts = tuple(pool[place].text for place in chosen)
        made.append(Group(f"{prefix}{number:05}", query.text, texts, query.source, labels))
    return made


def _chosen(query: Query, count: int, found: Sequence[list[int]], size: int, seed: int) -> list[int]:
    """Return a query's candidates in drawn order: its answers, hard ones from each ranking in turn, and easy ones."""
    rng = seeded(seed, "group", query.text)
    chosen = list(dict.fromkeys(query.answers[:_ANSWERS]))
    turns = [_drawn_by_rank(ranked, rng) for ranked in found]
    hard = (place for row in zip(*turns, strict=True) for place in row)
    most = size - round(_EASY * size)
    for place in hard:
        if len(chosen) >= most:
            break
        if place not in chosen:
            chosen.append(place)
    while len(chosen) < min(size, count):
        if (place := rng.randrange(count)) not in chosen:
            chosen.append(place)
    rng.shuffle(chosen)
    return chosen


def _drawn_by_rank(ranked: list[int], rng: random.Random) -> list[int]:
    """Return the positions in a drawn order in which the upper ranks tend to come first."""
    weights = [rng.random() ** (1 + rank / _STEEP) for rank in range(len(ranked))]
    return [place for _, place in sorted(zip(weights, ranked, strict=True), reverse=True)]

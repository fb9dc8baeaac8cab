"""Divides the queries between training and validation, so that no passage is asked about in both."""

from collections import Counter
from collections.abc import Sequence

from recipes.corpus.records import Query, seeded

JUDGED = {"scifact": 60, "xquad": 50}
"""How many of a data set's own queries are held out."""

MADE = 300
"""How many of the queries made from passages are held out."""


def split(queries: Sequence[Query], seed: int) -> tuple[list[int], list[int]]:
    """Return the positions of the queries for training and of those for validation.

    Queries that share an answer are held out together, and what still shares a passage with them is left out.
    """
    held: set[int] = set()
    wanted = Counter(JUDGED)
    made = MADE
    together = _by_answer(queries)
    order = list(range(len(queries)))
    seeded(seed, "split").shuffle(order)
    for position in order:
        query = queries[position]
        if query.judged and wanted[query.source] > 0 and position not in held:
            whole = {other for answer in query.answers for other in together[answer]} - held
            held |= whole
            wanted[query.source] -= len(whole)
        elif not query.judged and made > 0:
            held.add(position)
            made -= 1
    asked = {answer for position in held for answer in queries[position].answers}
    train = [n for n, query in enumerate(queries) if n not in held and not asked.intersection(query.answers)]
    return train, sorted(held)


def _by_answer(queries: Sequence[Query]) -> dict[int, list[int]]:
    together: dict[int, list[int]] = {}
    for position, query in enumerate(queries):
        for answer in query.answers:
            together.setdefault(answer, []).append(position)
    return together

"""The queries: those that people wrote, and those made from passages of the pool."""

import random
from collections.abc import Iterable, Sequence

from recipes.corpus.lexicon import Lexicon
from recipes.corpus.queries_definition import from_definition
from recipes.corpus.queries_prose import from_abstract, from_prose
from recipes.corpus.records import Kind, Passage, Query, normalised, seeded
from recipes.corpus.web_style import typed

_TWICE = frozenset({"xquad", "stellarium-data", "kstars-data", "gnucash-docs", "cfi-en", "dict-elements"})
"""Sources small and good enough to ask two things of each passage."""


def written(rows: Iterable[tuple[str, str, tuple[str, ...]]], pool: Sequence[Passage]) -> list[Query]:
    """Return the queries of data sets, with their answers as positions in the pool."""
    places = {(passage.source, passage.key): position for position, passage in enumerate(pool) if passage.key}
    queries = []
    for source, text, keys in rows:
        answers = tuple(places[source, key] for key in keys if (source, key) in places)
        queries.append(Query(text.strip(), source, answers, judged=bool(answers)))
    return queries


def made(pool: Sequence[Passage], lexicon: Lexicon, count: int, seed: int) -> list[Query]:
    """Return queries made from passages, each source giving in proportion to its passages."""
    rng = seeded(seed, "asking")
    places = [(position, turn) for position, passage in enumerate(pool) for turn in range(_turns(passage))]
    rng.shuffle(places)
    queries: list[Query] = []
    for position, turn in places:
        if len(queries) == count:
            break
        passage = pool[position]
        rng = seeded(seed, "asking", turn, passage.text)  # its own, so that one passage's queries leave others' alone
        text = typed(_asked(passage, lexicon, rng), rng)
        if len(text) > 2 and len(text.split()) <= 20:
            queries.append(Query(text, passage.source, (position,)))
    return queries


def _turns(passage: Passage) -> int:
    return 2 if passage.source in _TWICE else 1


def _asked(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    if passage.kind is Kind.DEFINITION:
        return from_definition(passage, lexicon, rng)
    return (from_abstract if passage.kind is Kind.ABSTRACT else from_prose)(passage, lexicon, rng)


def admitted(queries: Iterable[Query], forbidden: Iterable[str]) -> list[Query]:
    """Return the queries without repetitions and without those of the judges, whatever their case and punctuation."""
    seen = {normalised(text) for text in forbidden}
    kept = []
    for query in queries:
        name = normalised(query.text)
        if name and name not in seen:
            seen.add(name)
            kept.append(query)
    return kept

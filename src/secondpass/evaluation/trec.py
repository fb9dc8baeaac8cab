"""Collections in TREC's form: a run file with judgements and texts, or a run as JSON that carries its texts."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from secondpass.candidates import Candidate
from secondpass.errors import InputError
from secondpass.evaluation.collection import Collection, unique
from secondpass.evaluation.files import lines, read_json, read_qrels, read_texts


class _Hit(NamedTuple):
    query: str
    text: str
    score: float


def read_trec(run: str | Path, qrels: str | Path, queries: str | Path, texts: str | Path) -> Collection:
    """Read a collection from TREC's files.

    The run is taken in the order in which trec_eval reads it: by score in single precision, ties by falling text id,
    whatever the rank column says. So the first stage's figures are trec_eval's figures for that file.

    :param run: Lines of ``query Q0 text rank score tag``.
    :param qrels: Lines of ``query 0 text grade``.
    :param queries: Lines of ``id<TAB>text``, or JSON Lines with ``_id`` and ``text``.
    :param texts: The same for the texts of the run; more than those are fine.
    :raises InputError: If a file is missing or can't be read, no query is judged, or a candidate has no text.
    """
    run, texts = Path(run), Path(texts)
    hits = _by_query(_hits(run))
    wanted = {hit.text for found in hits.values() for hit in found}
    corpus = unique(str(texts), (item for item in read_texts(texts) if item[0] in wanted))
    _check_texts(run, texts, wanted - corpus.keys())
    candidates = {
        query: tuple(Candidate(corpus[hit.text], id=hit.text, score=hit.score) for hit in _as_trec_eval_reads(found))
        for query, found in hits.items()
    }
    asked = unique(str(queries), read_texts(Path(queries)))
    return Collection(run.stem, asked, corpus, read_qrels(Path(qrels)), candidates)


def read_trec_json(run: str | Path, qrels: str | Path) -> Collection:
    """Read a run as JSON: a list of ``{"query", "hits": [{"qid", "docid", "rank", "score", "content"}]}``.

    The order is that of the ranks: such files round their scores, and would hold ties that the run never had.

    :raises InputError: If a file is missing or can't be read, or no query is judged.
    """
    run = Path(run)
    topics = read_json(run)
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    candidates: dict[str, tuple[Candidate, ...]] = {}
    for position, topic in enumerate(topics if isinstance(topics, list) else [topics]):
        query, found = _topic(f"{run}, item {position}", topic)
        if not found:
            continue
        key = query[0]
        if key in queries:
            raise InputError(f"{run} must name each query once, and {key!r} comes twice")
        queries[key] = query[1]
        candidates[key] = found
        corpus |= {str(candidate.id): candidate.text for candidate in found}
    return Collection(run.stem, queries, corpus, read_qrels(Path(qrels)), candidates)


def _topic(where: str, topic: Any) -> tuple[tuple[str, str], tuple[Candidate, ...]]:
    try:
        hits = sorted(topic["hits"], key=lambda hit: int(hit["rank"]))
        found = tuple(Candidate(hit["content"], id=str(hit["docid"]), score=hit["score"]) for hit in hits)
        key = str(hits[0]["qid"]) if hits else ""
        return (key, str(topic["query"])), found
    except (KeyError, TypeError, ValueError) as error:
        form = '{"query", "hits": [{"qid", "docid", "rank", "score", "content"}]}'
        raise InputError(f"{where}: must be {form}; {type(error).__name__}: {error}") from error


def _hits(run: Path) -> Iterator[_Hit]:
    for where, line in lines(run):
        columns = line.split()
        try:
            query, _, text, _, score, *_ = columns
            hit = _Hit(query, text, float(score))
        except ValueError as error:
            raise InputError(f"{where}: must be 'query Q0 text rank score tag', got {line!r:.80}") from error
        if not math.isfinite(hit.score):
            raise InputError(f"{where}: the score must be a finite number, got {score}")
        yield hit


def _by_query(hits: Iterable[_Hit]) -> dict[str, list[_Hit]]:
    found: dict[str, list[_Hit]] = {}
    for hit in hits:
        found.setdefault(hit.query, []).append(hit)
    return found


def _as_trec_eval_reads(hits: Iterable[_Hit]) -> list[_Hit]:
    """Sort by score in single precision, which is what trec_eval holds it in; ties by falling text id."""
    by_id = sorted(hits, key=lambda hit: hit.text, reverse=True)
    return sorted(by_id, key=lambda hit: -np.float32(hit.score))


def _check_texts(run: Path, texts: Path, missing: set[str]) -> None:
    if missing:
        raise InputError(
            f"{texts} must hold every text that {run} names: {len(missing)} are missing, such as {min(missing)!r}; "
            "give the texts that the run was made from"
        )

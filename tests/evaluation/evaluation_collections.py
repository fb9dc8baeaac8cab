"""A small collection of animals, in memory and as files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from secondpass import Candidate
from secondpass.evaluation import Collection, Sampling, Settings

CORPUS = {
    "fox": "the red fox is quick",
    "dog": "the lazy dog can eat",
    "whale": "the blue whale can swim in the sea",
    "moon": "the moon is old and cold",
    "flea": "a flea can live for a year",
    "bee": "the bee can fly",
}
QUERIES = {"q1": "red fox", "q2": "blue whale sea", "q3": "old cold moon"}
QRELS = {"q1": {"fox": 2, "dog": 0}, "q2": {"whale": 1, "bee": 1}, "q3": {"moon": 3}}
RUN = {"q1": ["dog", "moon", "fox"], "q2": ["whale", "dog", "bee", "fox"], "q3": ["fox", "moon"]}
QUICK = Settings(depths=(1, 2, 4), timed_queries=1, budgets=(6, 12), sampling=Sampling(resamples=200))


def candidates(ids: Sequence[str], corpus: Mapping[str, str] = CORPUS) -> tuple[Candidate, ...]:
    return tuple(Candidate(corpus[key], id=key) for key in ids)


def animals(**changes: Any) -> Collection:
    """Return the small collection; ``run`` is given as ids."""
    parts: dict[str, Any] = {"queries": QUERIES, "corpus": CORPUS, "qrels": QRELS, "run": RUN} | changes
    parts["run"] = {query: candidates(ids, parts["corpus"]) for query, ids in parts["run"].items()}
    return Collection("animals", **parts)


def write_lines(path: Path, items: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(item if isinstance(item, str) else json.dumps(item) + "\n" for item in items), "utf-8")
    return path


def write_beir(folder: Path, *, qrels: str | None = None) -> Path:
    """Write the small collection in BEIR's form, its judgements with a header and CRLF line ends."""
    write_lines(folder / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in CORPUS.items()])
    write_lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in QUERIES.items()])
    rows = [f"{query}\t{text}\t{grade}" for query, texts in QRELS.items() for text, grade in texts.items()]
    made = "\r\n".join(["query-id\tcorpus-id\tscore", *rows, ""]) if qrels is None else qrels
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_bytes(made.encode())
    return folder


def write_trec(folder: Path, run: Sequence[str]) -> dict[str, Path]:
    """Write the small collection in TREC's form, with the run's lines as given."""
    rows = [f"{query} 0 {text} {grade}\n" for query, texts in QRELS.items() for text, grade in texts.items()]
    return {
        "run": write_lines(folder / "bm25.run", [f"{line}\n" for line in run]),
        "qrels": write_lines(folder / "qrels.txt", rows),
        "queries": write_lines(folder / "queries.tsv", [f"{key}\t{text}\n" for key, text in QUERIES.items()]),
        "texts": write_lines(folder / "texts.jsonl", [{"id": key, "text": text} for key, text in CORPUS.items()]),
    }


def orders(collection: Collection) -> dict[str, list[str]]:
    """Return the first stage's ids for each query."""
    return {query: [str(candidate.id) for candidate in run] for query, run in collection.run.items()}


def no_progress(work: str, done: int, total: int) -> None:
    """Take what a progress callback is given."""

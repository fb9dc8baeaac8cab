"""Collections in BEIR's form: a folder with corpus, queries and judgements."""

from collections.abc import Iterator
from pathlib import Path

from secondpass.errors import InputError
from secondpass.evaluation.bm25 import bm25_run
from secondpass.evaluation.collection import Collection, Run, unique
from secondpass.evaluation.files import read_qrels, read_texts


def read_beir(folder: str | Path, split: str = "test", *, run: Run | None = None, depth: int = 100) -> Collection:
    """Read a collection: ``corpus.jsonl`` (or ``corpus/*.jsonl``), ``queries.jsonl`` and ``qrels/SPLIT.tsv``.

    A text is its title and its body on two lines. Thakur et al., "BEIR: a heterogeneous benchmark for zero-shot
    evaluation of information retrieval models", NeurIPS 2021.

    :param folder: Where they are.
    :param split: Whose judgements to take.
    :param run: The first stage's candidates for each query; None asks BM25.
    :param depth: How many candidates BM25 gives.
    :raises InputError: If a file is missing or can't be read, or no query is judged.
    :raises MissingExtra: If BM25 is asked and not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"a BEIR collection must be a folder with corpus.jsonl, queries.jsonl and qrels, got {folder}")
    qrels = read_qrels(_split_file(folder, split))
    queries = unique(str(folder / "queries.jsonl"), read_texts(folder / "queries.jsonl"))
    corpus = unique(f"the corpus of {folder}", _corpus(folder))
    judged = {query: text for query, text in queries.items() if query in qrels}
    if run is None:
        run = bm25_run(judged, corpus, depth) if judged else {}
    return Collection(f"{folder.name} {split}", queries, corpus, qrels, run)


def _split_file(folder: Path, split: str) -> Path:
    file = folder / "qrels" / f"{split}.tsv"
    if not file.is_file():
        there = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
        raise InputError(f"the split must be one of {', '.join(there) or 'none'} in {folder / 'qrels'}, got {split!r}")
    return file


def _corpus(folder: Path) -> Iterator[tuple[str, str]]:
    files = [folder / "corpus.jsonl"]
    if not files[0].is_file():
        files = sorted((folder / "corpus").glob("*.jsonl"))
    if not files:
        raise InputError(f"{folder} must have corpus.jsonl, or a folder corpus with JSON Lines in it, and has neither")
    for file in files:
        yield from read_texts(file)

"""Readers of test collections: BEIR folders, TREC runs, SQuAD files; BM25 is the first stage they lack.

Every error names the file and the line or the item.
"""

import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ir_measures
import numpy as np

from secondpass.errors import InputError
from secondpass.evaluation.bm25 import Bm25Index
from secondpass.evaluation.collection import Collection, Run
from secondpass.jsonl import read_objects
from secondpass.records import Candidate

_Parsed = TypeVar("_Parsed")
_ID_KEYS = ("_id", "id", "docid", "qid", "query_id", "doc_id")
_PARAGRAPH = 'an object with "context" and "qas", each of those with "id", "question" and "answers"'


def read_beir(folder: str | Path, split: str = "test", *, run: Run | None = None, depth: int = 100) -> Collection:
    """Read a BEIR folder: ``corpus.jsonl`` (or ``corpus/*.jsonl``), ``queries.jsonl`` and ``qrels/SPLIT.tsv``.

    A text is its title and its body on two lines. (BEIR's own evaluation joins them with a blank; to models and to
    BM25 that is the same.) Thakur et al., "BEIR: a heterogeneous benchmark for zero-shot evaluation of information
    retrieval models", NeurIPS 2021.

    :param folder: The folder.
    :param split: Whose judgements to take.
    :param run: The first stage's candidates for each query; None takes BM25's.
    :param depth: How many candidates BM25 returns.
    :raises InputError: If a file is missing or can't be read, or no query is judged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"a BEIR collection must be a folder with corpus.jsonl, queries.jsonl and qrels, got {folder}")
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    if split not in splits:
        raise InputError(f"the split must be one of {', '.join(splits) or 'none'} in {folder}/qrels, got {split!r}")
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv")
    queries = _unique(folder / "queries.jsonl", _read_texts(folder / "queries.jsonl"))
    single = folder / "corpus.jsonl"
    files = [single] if single.is_file() else sorted((folder / "corpus").glob("*.jsonl"))
    if not files:
        raise InputError(f"{folder} must have corpus.jsonl, or a folder corpus with JSON Lines in it, and has neither")
    corpus = _unique(f"the corpus of {folder}", (item for file in files for item in _read_texts(file)))
    judged = {query: text for query, text in queries.items() if query in qrels}
    if run is None:
        run = Bm25Index(corpus).run(judged, depth) if judged else {}
    return Collection(f"{folder.name} {split}", queries, corpus, qrels, run)


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
    run = Path(run)
    form = "'query Q0 text rank score tag', the score a finite number"
    hits: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for where, line in _lines(run):
        query, text, score = _parse(where, line, _parse_hit, form)
        hits[query].append((text, score))
    wanted = {text for ranked in hits.values() for text, _ in ranked}
    corpus = _unique(texts, (item for item in _read_texts(Path(texts)) if item[0] in wanted))
    if missing := wanted - corpus.keys():
        raise InputError(
            f"{texts} must hold every text that {run} names: {len(missing)} are missing, such as {min(missing)!r}; "
            "give the texts that the run was made from"
        )
    candidates = {}
    for query, ranked in hits.items():
        ranked.sort(key=lambda hit: (np.float32(hit[1]), hit[0]), reverse=True)
        candidates[query] = [Candidate(corpus[text], id=text, score=score) for text, score in ranked]
    return Collection(
        run.stem, _unique(queries, _read_texts(Path(queries))), corpus, _read_qrels(Path(qrels)), candidates
    )


def read_squad(
    path: str | Path, *, titles: Sequence[str] | None = None, run: Run | None = None, depth: int = 100
) -> Collection:
    """Read a SQuAD file: the paragraphs are the corpus, and each question's own paragraph is its relevant text.

    A paragraph's id is its article's title and its number, from 0. Questions without an answer are left out.
    Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text", EMNLP 2016; Artetxe et al., "On
    the cross-lingual transferability of monolingual representations" (XQuAD), ACL 2020.

    :param path: The JSON file.
    :param titles: Only these articles, both as questions and as corpus; None for all.
    :param run: The first stage's candidates for each question; None takes BM25's.
    :param depth: How many candidates BM25 returns.
    :raises InputError: If the file can't be read, a title isn't in it, or an article or question comes twice.
    """
    path = Path(path)
    paragraphs = list(_squad_paragraphs(path, titles))
    corpus = _unique(path, ((key, text) for key, text, _ in paragraphs))
    asked = [(key, question) for key, _, questions in paragraphs for question in questions]
    queries = _unique(path, ((question, text) for _, (question, text, _) in asked))
    qrels = {question: {key: 1} for key, (question, _, _) in asked}
    answers = {question: strings for _, (question, _, strings) in asked}
    if run is None:
        run = Bm25Index(corpus).run(queries, depth) if queries else {}
    return Collection(path.stem, queries, corpus, qrels, run, answers)


def _squad_paragraphs(path: Path, titles: Sequence[str] | None) -> Iterator[tuple[str, str, list[Any]]]:
    """Return each paragraph's id, its text, and its questions with at least one answer."""
    content = _read_json(path)
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list) or not all(isinstance(item, dict) for item in articles):
        raise InputError(f'{path} must be in SQuAD\'s form, an object with a list of articles under "data"')
    present = [str(article.get("title", position)) for position, article in enumerate(articles)]
    if unknown := [title for title in titles or () if title not in present]:
        raise InputError(f"{path} must have the article {unknown[0]!r}, and has {', '.join(present[:5])} ...")
    for title, article in zip(present, articles, strict=True):
        for number, paragraph in enumerate(article.get("paragraphs", ()) if titles is None or title in titles else ()):
            key = f"{title}/{number}"
            yield key, *_parse(f"{path}, paragraph {key}", paragraph, _parse_paragraph, _PARAGRAPH)


def _parse_paragraph(paragraph: Any) -> tuple[str, list[tuple[str, str, list[str]]]]:
    questions = [
        (str(item["id"]), str(item["question"]), list(dict.fromkeys(str(answer["text"]) for answer in item["answers"])))
        for item in paragraph["qas"]
    ]
    return paragraph["context"], [question for question in questions if question[2]]


def _parse_hit(line: str) -> tuple[str, str, float]:
    (hit,) = ir_measures.read_trec_run(io.StringIO(line))  # type: ignore[no-untyped-call]
    if not math.isfinite(hit.score):
        raise ValueError("not a finite number")
    return hit.query_id, hit.doc_id, hit.score


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements from a BEIR file (query, text, grade, with or without a header) or a TREC one (four columns).

    ``ir_measures.read_trec_qrels`` takes neither BEIR's columns nor ids with blanks, and names no line in its errors.
    """
    qrels: dict[str, dict[str, int]] = {}
    for position, (where, line) in enumerate(_lines(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if position == 0 and len(columns) == 3 and not columns[2].strip().removeprefix("-").isdecimal():
            continue
        query, text, grade = _parse(where, columns, _parse_grade, "query, text and grade (or TREC's four columns)")
        if qrels.setdefault(query, {}).setdefault(text, grade) != grade:
            raise InputError(f"{where}: text {text!r} was judged {qrels[query][text]} for query {query!r} before")
    if not qrels:
        raise InputError(f"{path} must hold at least one judgement, and holds none")
    return qrels


def _parse_grade(columns: Sequence[str]) -> tuple[str, str, int]:
    query, text, grade = columns if len(columns) == 3 else (columns[0], *columns[2:])
    return query, text, int(grade)


def _read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Return pairs of id and text from JSON Lines (``.jsonl``), or from lines of ``id<TAB>text``."""
    if path.suffix == ".jsonl":
        form = 'a JSON object with "_id" and a string "text"'
        return (_parse(where, item, _parse_object, form) for where, item in read_objects(path))
    return (_parse(where, line, _parse_tab, "id, tab and text") for where, line in _lines(path))


def _parse_tab(line: str) -> tuple[str, str]:
    key, text = line.split("\t", 1)
    if not key.strip():
        raise ValueError("no id")
    return key.strip(), text


def _parse_object(item: Mapping[str, Any]) -> tuple[str, str]:
    key, *_ = (item[name] for name in _ID_KEYS if name in item)
    if not isinstance(item["text"], str):
        raise TypeError("the text is no string")
    title = item.get("title")
    return str(key), f"{title}\n{item['text']}".strip() if title else item["text"]


def _parse(where: str, value: Any, parse: Callable[[Any], _Parsed], form: str) -> _Parsed:
    """Parse one line or item, or raise an ``InputError`` that says where it is and what its form must be."""
    try:
        return parse(value)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: must be {form}, got {value!r:.80} ({type(error).__name__}: {error!s:.80})"
        ) from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Return each line that isn't blank as its place and its text, without its end (also CRLF)."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line.rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a file in UTF-8: {error}") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} must be a file of JSON in UTF-8: {error!s:.200}") from error


def _unique(source: str | Path, items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return pairs of id and text as a mapping, or raise an ``InputError`` if an id comes twice."""
    texts: dict[str, str] = {}
    for key, text in items:
        if key in texts:
            raise InputError(f"{source} must name each id once, and {key!r} comes twice")
        texts[key] = text
    return texts

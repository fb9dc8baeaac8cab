"""Collections in SQuAD's form: paragraphs, and questions with the strings that answer them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secondpass.errors import InputError
from secondpass.evaluation.bm25 import bm25_run
from secondpass.evaluation.collection import Collection, Run
from secondpass.evaluation.files import read_json


@dataclass(slots=True)
class _Found:
    """What was read so far."""

    queries: dict[str, str] = field(default_factory=dict)
    corpus: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_squad(
    path: str | Path, *, titles: Sequence[str] | None = None, run: Run | None = None, depth: int = 100
) -> Collection:
    """Read a collection: the paragraphs are the corpus, and each question's own paragraph is its relevant text.

    A paragraph's id is its article's title and its number, from 0. Questions without an answer are left out.
    Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text", EMNLP 2016; Artetxe et al., "On
    the cross-lingual transferability of monolingual representations" (XQuAD), ACL 2020.

    :param path: The JSON file.
    :param titles: Only these articles, both as questions and as corpus; None for all.
    :param run: The first stage's candidates for each question; None asks BM25.
    :param depth: How many candidates BM25 gives.
    :raises InputError: If the file can't be read, a title isn't in it, or a question's id comes twice.
    :raises MissingExtra: If BM25 is asked and not installed.
    """
    path = Path(path)
    found = _Found()
    for title, number, paragraph in _paragraphs(path, titles):
        _read(path, f"{title}/{number}", paragraph, found)
    if run is None:
        run = bm25_run(found.queries, found.corpus, depth) if found.queries else {}
    return Collection(path.stem, found.queries, found.corpus, found.qrels, run, found.answers)


def _paragraphs(path: Path, titles: Sequence[str] | None) -> Iterator[tuple[str, int, Any]]:
    content = read_json(path)
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list) or not all(isinstance(item, dict) for item in articles):
        raise InputError(f'{path} must be in SQuAD\'s form, an object with a list of articles under "data"')
    there = [str(article.get("title", position)) for position, article in enumerate(articles)]
    unknown = [title for title in titles or () if title not in there]
    if unknown:
        raise InputError(f"{path} must have the article {unknown[0]!r}, and has {', '.join(there[:5])} ...")
    for title, article in zip(there, articles, strict=True):
        if titles is None or title in titles:
            yield from ((title, number, paragraph) for number, paragraph in enumerate(article.get("paragraphs", ())))


def _read(path: Path, key: str, paragraph: Any, found: _Found) -> None:
    if key in found.corpus:
        raise InputError(f"{path} must name each article once, and {key.rpartition('/')[0]!r} comes twice")
    try:
        found.corpus[key] = paragraph["context"]
        questions = [
            (str(item["id"]), str(item["question"]), tuple(str(answer["text"]) for answer in item["answers"]))
            for item in paragraph["qas"]
        ]
    except (KeyError, TypeError) as error:
        form = 'an object with "context" and "qas", each of those with "id", "question" and "answers"'
        raise InputError(f"{path}: paragraph {key} must be {form}; {type(error).__name__}: {error}") from error
    for question, text, answers in questions:
        if question in found.queries:
            raise InputError(f"{path} must name each question once, and {question!r} comes twice")
        if answers:
            found.queries[question] = text
            found.answers[question] = tuple(dict.fromkeys(answers))
            found.qrels[question] = {key: 1}

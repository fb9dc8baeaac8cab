"""SciFact, XQuAD and, for research only, NFCorpus and TREC DL 2021: passages, and queries that people wrote."""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.corpus.packages import MissingInput
from recipes.corpus.passages import cut, is_prose, tidy
from recipes.corpus.records import Kind, Passage, seeded

ARTICLES = Path(__file__).parent.parent / "xquad_articles.json"
"""Which of XQuAD's articles are for training, and which belong to the judge."""

_WHOLE_ABSTRACTS = 1500  # besides those that a training claim rests on
_CUT_ABSTRACTS = 5000  # passages out of the other abstracts
_NFCORPUS_TEXTS = 3000
_NFCORPUS_QUERIES = 1200


@dataclass(slots=True)
class Dataset:
    """Passages, and queries with the keys of the passages that answer them.

    :param files: What was read, for the manifest.
    """

    passages: list[Passage] = field(default_factory=list)
    queries: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def scifact(assets: Path, seed: int) -> Dataset:
    """Read the abstracts and the training claims; a claim of the test set is never opened to anyone."""
    folder = assets / "data" / "scifact"
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    train, test = folder / "qrels" / "train.tsv", folder / "qrels" / "test.tsv"
    judged, tested = _qrels(train), set(_qrels(test))
    claims = {row["_id"]: row["text"] for row in _rows(queries) if row["_id"] in judged and row["_id"] not in tested}
    cited = {key for claim in claims for key in judged[claim]}
    found = Dataset(files=[corpus, queries, train, test])
    rng = seeded(seed, "scifact")
    others = []
    for row in _rows(corpus):
        (found.passages.append(_abstract(row)) if row["_id"] in cited else others.append(row))
    rng.shuffle(others)
    found.passages += [_abstract(row) for row in others[:_WHOLE_ABSTRACTS]]
    pieces = [piece for row in others[_WHOLE_ABSTRACTS:] for piece in _pieces(row, rng)]
    found.passages += rng.sample(pieces, min(_CUT_ABSTRACTS, len(pieces)))
    found.queries = [("scifact", claims[key], tuple(judged[key])) for key in sorted(claims)]
    return found


def _abstract(row: dict[str, Any]) -> Passage:
    text = tidy(f"{row['title'].rstrip('.')}. {row['text']}")
    return Passage("scifact", text, Kind.ABSTRACT, title=tidy(row["title"]), key=row["_id"])


def _pieces(row: dict[str, Any], rng: random.Random) -> Iterator[Passage]:
    for text in cut([row["text"]], rng):
        if is_prose(text):
            yield Passage("scifact", text, Kind.ABSTRACT, title=tidy(row["title"]))


def xquad(assets: Path, side: str = "train") -> Dataset:
    """Read the paragraphs and questions of the articles on one side, ``train`` or ``judge``."""
    path = assets / "data" / "xquad-en" / "xquad.en.json"
    articles = set(json.loads(ARTICLES.read_text(encoding="utf-8"))[side])
    found = Dataset(files=[path])
    for article in _json(path)["data"]:
        if article["title"] not in articles:
            continue
        for number, paragraph in enumerate(article["paragraphs"]):
            key = f"{article['title']}#{number}"
            title = article["title"].replace("_", " ")
            found.passages.append(Passage("xquad", tidy(paragraph["context"]), title=title, topic=title, key=key))
            found.queries += [("xquad", question["question"], (key,)) for question in paragraph["qas"]]
    return found


def nfcorpus(assets: Path, seed: int) -> Dataset:
    """Read NFCorpus's texts and its training queries; academic use only."""
    folder = assets / "data" / "nfcorpus"
    texts = sorted((folder / "corpus").glob("*.jsonl"))
    queries, train = folder / "queries.jsonl", folder / "qrels" / "train.tsv"
    judged = _qrels(train)
    tested = set(_qrels(folder / "qrels" / "test.tsv")) | set(_qrels(folder / "qrels" / "dev.tsv"))
    rng = seeded(seed, "nfcorpus")
    rows = [row for path in texts for row in _rows(path)]
    kept = rng.sample(rows, min(_NFCORPUS_TEXTS, len(rows)))
    asked = [row for row in _rows(queries) if row["_id"] in judged and row["_id"] not in tested]
    found = Dataset(files=[*texts, queries, train])
    found.passages = [
        Passage(
            "nfcorpus", tidy(f"{row['title']}. {row['text']}"), Kind.ABSTRACT, title=tidy(row["title"]), key=row["_id"]
        )
        for row in kept
    ]
    chosen = rng.sample(asked, min(_NFCORPUS_QUERIES, len(asked)))
    found.queries = [("nfcorpus", row["text"], tuple(judged[row["_id"]])) for row in chosen]
    return found


def trec_dl_2021(assets: Path) -> Dataset:
    """Read the queries and passages of TREC DL 2021; MS MARCO's terms allow research only."""
    path = assets / "data" / "trec-dl" / "bm25_top100_dl21.json"
    found = Dataset(files=[path])
    seen: set[str] = set()
    for topic in _json(path):
        hits = topic["hits"] if isinstance(topic["hits"], list) else [topic["hits"]]
        for hit in hits:
            if hit["docid"] not in seen:
                seen.add(hit["docid"])
                found.passages.append(Passage("trec-dl-2021", tidy(hit["content"]), key=hit["docid"]))
        found.queries.append(("trec-dl-2021", topic["query"], ()))
    return found


@dataclass(frozen=True, slots=True)
class Judges:
    """What must not occur in training: the queries and passages that models will be judged by."""

    queries: tuple[str, ...]
    passages: tuple[str, ...]


def judges(assets: Path) -> Judges:
    """Read what the judges ask and show: SciFact's and NFCorpus's test queries, DL 2019, and XQuAD's other articles."""
    queries, passages = list[str](), list[str]()
    for name in ("scifact", "nfcorpus"):
        folder = assets / "data" / name
        tested = set(_qrels(folder / "qrels" / "test.tsv"))
        queries += [row["text"] for row in _rows(folder / "queries.jsonl") if row["_id"] in tested]
    runs = assets / "data" / "trec-dl"
    for path in sorted(runs.glob("*dl19.json")) or [runs / "bm25_top100_dl19.json"]:
        for topic in _json(path):
            queries.append(topic["query"])
            passages += [hit["content"] for hit in topic["hits"]]
    held_out = xquad(assets, "judge")
    queries += [text for _, text, _ in held_out.queries]
    passages += [passage.text for passage in held_out.passages]
    return Judges(tuple(queries), tuple(dict.fromkeys(passages)))


def _qrels(path: Path) -> dict[str, list[str]]:
    """Return the relevant documents' ids for each query."""
    found: dict[str, list[str]] = {}
    with _opened(path).open(encoding="utf-8", newline="") as stream:
        for query, document, grade in list(csv.reader(stream, delimiter="\t"))[1:]:
            if int(grade) > 0:
                found.setdefault(query, []).append(document)
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with _opened(path).open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _json(path: Path) -> Any:
    return json.loads(_opened(path).read_text(encoding="utf-8"))


def _opened(path: Path) -> Path:
    if not path.is_file():
        raise MissingInput(f"{path} is missing: --assets must name the folder in which data/ holds the data sets")
    return path

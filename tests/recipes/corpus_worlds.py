"""A small WordNet, pages and data sets, made up, in the forms that the recipe reads."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from recipes.corpus.datasets import ARTICLES
from recipes.corpus.lexicon import Lexicon
from recipes.corpus.records import Kind, Passage
from recipes.corpus.wordnet import WordNet

NOUNS = """\
00000001 05 n 02 bird 0 feathered_friend 0 002 ~ 00000002 n 0000 ~ 00000003 n 0000 | a winged animal; "one bird sat"
00000002 05 n 01 heron 0 001 @ 00000001 n 0000 | a grey wading bird with a long neck
00000003 05 n 01 goose 0 002 @ 00000001 n 0000 %p 00000004 n 0000 | a large water bird that honks
00000004 08 n 01 wing 0 001 #p 00000003 n 0000 | a movable limb for flying
00000005 17 n 01 river 0 000 | a large natural stream of water
00000006 15 n 02 Timbuktu 0 Tombouctou 0 000 | a city in central Mali near the Niger river
"""
NOUN_INDEX = """\
bird n 1 1 ~ 1 1 00000001
feathered_friend n 1 1 ~ 1 0 00000001
heron n 1 1 @ 1 0 00000002
goose n 1 2 @ %p 1 1 00000003
wing n 1 1 #p 1 1 00000004
river n 1 0 1 1 00000005
timbuktu n 1 0 1 0 00000006
"""
LICENCE = "  1 This software and database is being provided to you under a licence\n"
FILES = {
    "data.noun": LICENCE + NOUNS,
    "index.noun": LICENCE + NOUN_INDEX,
    "data.verb": LICENCE + "00000001 38 v 01 swim 0 000 01 + 02 00 | move through water\n",
    "index.verb": LICENCE + "swim v 1 0 1 1 00000001\n",
    "data.adj": LICENCE + "00000001 00 s 02 grey(a) 0 gray 0 000 | of a colour between black and white\n",
    "index.adj": LICENCE + "grey a 1 0 1 1 00000001\n",
}

TOPICS = [
    "heron",
    "goose",
    "river",
    "wing",
    "bird",
    "harbour",
    "castle",
    "comet",
    "glacier",
    "violin",
    "parliament",
    "vaccine",
    "tunnel",
    "orchard",
    "desert",
]


def paragraph(topic: str, number: int = 0) -> str:
    """Return a passage of prose that no other topic's or number's shares a run of words with."""
    mark = f"{topic}{'abcdefghij'[number % 10] * (1 + number // 10)}"
    return (
        f"The {mark} is a {topic} of great age. In the {mark} there is some {mark} water, and a grey {topic} swims. "
        f"Many say of {mark} that it causes {topic} fever. The history of {mark} begins with {topic} stones, {mark} "
        f"gold and {topic} salt. You can see {mark} birds over {topic} fields. To visit {mark}, take the {topic} boat."
    )


def prose(count: int) -> list[Passage]:
    """Return passages of several sources and kinds, all different."""
    sources = ("anarchism", "xquad", "git-doc")
    return [
        Passage(sources[n % 3], paragraph(topic, n // len(TOPICS)), title=f"The {topic}", topic="A handbook")
        for n in range(count)
        for topic in [TOPICS[n % len(TOPICS)]]
    ]


def definition(title: str = "heron", **more: Any) -> Passage:
    gloss = "a grey wading bird with a long neck"
    told: dict[str, Any] = {"gloss": gloss, "field": "animal", "siblings": ("goose",), **more}
    return Passage("wordnet-base", f"{title}: {told['gloss']}.", Kind.DEFINITION, title=title, **told)


def net() -> WordNet:
    return WordNet(FILES)


def lexicon(pool: Iterable[Passage]) -> Lexicon:
    return Lexicon(net(), (passage.text for passage in pool))


def deb(folder: Path, name: str, files: Mapping[str, bytes], section: str = "doc", version: str = "1.0-1") -> Path:
    """Build a Debian package, or skip where the tool for it isn't installed."""
    tool = shutil.which("dpkg-deb")
    if not tool:
        pytest.skip("dpkg-deb isn't installed")
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = {"Package": name, "Version": version, "Section": section, "Architecture": "all"}
    control |= {"Maintainer": "Nobody <nobody@example.org>", "Description": "made up"}
    (tree / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()), "utf-8")
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    made = folder / f"{name}_{version}_all.deb"
    subprocess.run([tool, "--build", "-Znone", str(tree), str(made)], check=True, capture_output=True, timeout=60)
    shutil.rmtree(tree)
    return made


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def _qrels(rows: Iterable[tuple[str, str, int]]) -> str:
    return "query-id\tcorpus-id\tscore\n" + "".join(f"{query}\t{text}\t{grade}\n" for query, text, grade in rows)


def assets(folder: Path) -> Path:
    """Write small stand-ins for the data sets, in their formats, and return the folder."""
    data = folder / "data"
    for name in ("scifact", "nfcorpus"):
        texts = [{"_id": str(n), "title": f"On {t}", "text": paragraph(t, 20 + n)} for n, t in enumerate(TOPICS[:8])]
        where = "corpus.jsonl" if name == "scifact" else "corpus/part.jsonl"
        _write(data / name / where, _lines(texts))
        asked = [{"_id": f"q{n}", "text": f"{name} claim on the {topic}"} for n, topic in enumerate(TOPICS[:8])]
        _write(data / name / "queries.jsonl", _lines(asked))
        _write(data / name / "qrels" / "train.tsv", _qrels((f"q{n}", str(n), 1) for n in range(5)))
        _write(data / name / "qrels" / "test.tsv", _qrels((f"q{n}", str(n), 1) for n in range(4, 8)))
        _write(data / name / "qrels" / "dev.tsv", _qrels([]))
    for year in ("dl19", "dl21"):
        hits = [{"docid": f"{year}-{n}", "content": paragraph(f"{year}tide", n)} for n in range(3)]
        _write(data / "trec-dl" / f"bm25_top100_{year}.json", json.dumps([{"query": f"what is {year}", "hits": hits}]))
    listed = json.loads(ARTICLES.read_text(encoding="utf-8"))
    articles = [article(title) for side in listed.values() for title in side]
    _write(data / "xquad-en" / "xquad.en.json", json.dumps({"data": articles}))
    return folder


def article(title: str) -> dict[str, Any]:
    """Return one of XQuAD's articles with two made-up paragraphs, each with a question."""
    word = "".join(filter(str.isalpha, title)).lower()
    paragraphs = [
        {"context": paragraph(word, n), "qas": [{"question": f"Who built the {word} in year {n}?"}]} for n in range(2)
    ]
    return {"title": title, "paragraphs": paragraphs}

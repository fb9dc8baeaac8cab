"""The corpus's data sets, and what they keep back for the judges."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from corpus_worlds import TOPICS, paragraph
from corpus_worlds import assets as made_up_assets

import recipes.corpus.datasets as module
from recipes.corpus.asking import admitted, written
from recipes.corpus.datasets import ARTICLES, judges, nfcorpus, scifact, trec_dl_2021, xquad
from recipes.corpus.gather import Gathered, _add_datasets
from recipes.corpus.packages import MissingInput
from recipes.corpus.pool import unique
from recipes.corpus.records import Passage, Query, normalised


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_assets(tmp_path_factory.mktemp("assets"))


def test_articles_are_divided_in_halves() -> None:
    """Of XQuAD's 48 articles 24 are for training and 24 for the judge, and none for both."""
    listed = json.loads(ARTICLES.read_text(encoding="utf-8"))
    train, judge = listed["train"], listed["judge"]
    assert set(listed) == {"train", "judge"}
    assert (len(set(train)), len(set(judge))) == (len(train), len(judge)) == (24, 24)
    assert not set(train) & set(judge)


def test_articles_are_those_of_the_data(assets: Path) -> None:
    """The two halves name exactly the articles that XQuAD has."""
    listed = json.loads(ARTICLES.read_text(encoding="utf-8"))
    stored = json.loads((assets / "data" / "xquad-en" / "xquad.en.json").read_text(encoding="utf-8"))
    assert sorted(listed["train"] + listed["judge"]) == sorted(article["title"] for article in stored["data"])


def test_no_claim_of_the_test_set_is_read(data: Path) -> None:
    """SciFact gives the claims of its training set, but none that its test set has too, each with its abstract."""
    read = scifact(data, 1)
    assert [text for _, text, _ in read.queries] == [f"scifact claim on the {topic}" for topic in TOPICS[:4]]
    keys = {passage.key for passage in read.passages}
    assert {key for _, _, answers in read.queries for key in answers} <= keys


def test_scifact_is_drawn_alike_for_a_seed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed takes the same abstracts, whole or in pieces; only whole ones are named."""
    monkeypatch.setattr(module, "_WHOLE_ABSTRACTS", 1)
    read = scifact(data, 1)
    assert read.passages == scifact(data, 1).passages
    assert sum(bool(passage.key) for passage in read.passages) == 5
    assert all(passage.text.startswith(f"{passage.title}. ") for passage in read.passages if passage.key)


def test_research_data_leave_their_test_queries_out(data: Path) -> None:
    """NFCorpus gives no query of its test set; TREC DL 2021 gives queries without answers, and its passages once."""
    assert {text for _, text, _ in nfcorpus(data, 1).queries} == {f"nfcorpus claim on the {t}" for t in TOPICS[:4]}
    read = trec_dl_2021(data)
    assert read.queries == [("trec-dl-2021", "what is dl21", ())]
    assert len(read.passages) == len({passage.key for passage in read.passages}) == 3


def test_each_side_has_its_own_articles(data: Path) -> None:
    """XQuAD's paragraphs and questions come from the articles of the side that was asked for."""
    listed = json.loads(ARTICLES.read_text(encoding="utf-8"))
    for side in ("train", "judge"):
        read = xquad(data, side)
        assert {passage.key.split("#")[0] for passage in read.passages} == set(listed[side])
        assert len(read.queries) == len(read.passages) == 48
        assert {answers for _, _, answers in read.queries} == {(passage.key,) for passage in read.passages}


def test_judges_name_all_that_models_are_judged_by(data: Path) -> None:
    """The judges' queries are the test claims, DL 2019's and those of XQuAD's other half; texts count too."""
    found = judges(data)
    for name in ("scifact", "nfcorpus"):
        assert {f"{name} claim on the {topic}" for topic in TOPICS[4:8]} <= set(found.queries)
    assert "what is dl19" in found.queries
    assert {text for _, text, _ in xquad(data, "judge").queries} <= set(found.queries)
    assert {paragraph("dl19tide", n) for n in range(3)} <= set(found.passages)
    assert {passage.text for passage in xquad(data, "judge").passages} <= set(found.passages)


@pytest.mark.parametrize("form", [str, str.upper, "  {}?".format, "“{}”!".format])
def test_no_query_of_a_judge_comes_through(data: Path, form: type[str]) -> None:
    """A judge's query is not admitted, in whatever case and punctuation, from whichever source."""
    found = judges(data)
    asked = [Query(form(text), "git-doc") for text in found.queries]
    assert admitted([*asked, Query("who else", "git-doc")], found.queries) == [Query("who else", "git-doc")]


@pytest.mark.parametrize("form", [str, str.lower, "Hello. {} Bye.".format])
def test_no_passage_of_a_judge_comes_through(data: Path, form: type[str]) -> None:
    """A judge's passage, or one nearly like it, isn't taken into the pool, even where qrels name it."""
    found = judges(data)
    copies = [Passage("git-doc", form(text), key=key) for text in found.passages for key in ("", text)]
    assert unique(copies, found.passages) == []


def test_training_parts_come_through(data: Path) -> None:
    """What the judges keep back leaves the training half of XQuAD and the training claims whole."""
    gathered, found = Gathered(), judges(data)
    _add_datasets(gathered, Namespace(assets=data, seed=1, with_research=False))
    pool = unique(gathered.passages, found.passages)
    queries = admitted(written(gathered.queries, pool), found.queries)
    assert len(queries) == len(gathered.queries) == 48 + 4
    assert all(query.judged for query in queries)
    assert not {normalised(query.text) for query in queries} & set(map(normalised, found.queries))


@pytest.mark.parametrize(
    "missing",
    [
        "scifact/corpus.jsonl",
        "scifact/queries.jsonl",
        "scifact/qrels/test.tsv",
        "xquad-en/xquad.en.json",
        "nfcorpus/qrels/test.tsv",
        "trec-dl/bm25_top100_dl19.json",
    ],
)
def test_missing_file_is_told(data: Path, tmp_path: Path, missing: str) -> None:
    """Without a file of a data set or a judge the recipe stops, and says which is missing and what must hold it."""
    folder = tmp_path / "some"
    shutil.copytree(data, folder)
    (folder / "data" / missing).unlink()
    with pytest.raises(MissingInput, match="--assets must name the folder") as caught:
        (scifact(folder, 1), xquad(folder), judges(folder))
    assert missing in str(caught.value)

"""Reading collections from BEIR folders, TREC files and SQuAD files, and refusing malformed ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from evaluation_collections import QRELS, QUERIES, animals, orders, write_beir, write_lines, write_trec

from benchmarks.trec_json import read_trec_json
from secondpass.errors import InputError
from secondpass.evaluation import read_beir, read_squad, read_trec

LINES = ["q1 Q0 dog 9 2.0 x", "q1 Q0 fox 1 3.0 x", "q2 Q0 bee 1 1.0 x", "q2 Q0 whale 2 1.0 x", "q2 Q0 dog 3 1.0 x"]
HIT = {"qid": 1, "docid": 7, "rank": 2, "score": 1.0, "content": "b"}


def squad(*titles: str, **item: Any) -> dict[str, Any]:
    question: dict[str, Any] = {
        "id": "q",
        "question": "what is red?",
        "answers": [{"text": "fox"}, {"text": "fox"}],
    } | item
    paragraphs: list[dict[str, Any]] = [{"context": "a red fox", "qas": [question]}, {"context": "a dog", "qas": []}]
    articles = [
        {"title": title, "paragraphs": [paragraphs[0] | {"qas": [question | {"id": f"{title}-{question['id']}"}]}]}
        for title in titles
    ]
    return {"data": articles or [{"title": "Fox", "paragraphs": paragraphs}]}


def test_beir_folder_is_read_with_bm25(tmp_path: Path) -> None:
    """Judgements with a header and CRLF are read, and without a run BM25 finds the texts that share words."""
    collection = read_beir(write_beir(tmp_path / "animals"))
    assert collection.name == "animals test"
    assert collection.queries == QUERIES
    assert collection.qrels == QRELS
    assert orders(collection)["q1"] == ["fox"]
    assert orders(collection)["q2"][0] == "whale"
    assert all(candidate.score for run in collection.run.values() for candidate in run)


def test_beir_corpus_can_be_a_folder_and_a_title_is_a_line(tmp_path: Path) -> None:
    """Any JSON Lines under corpus/ are the corpus; a title stands before its text."""
    folder = write_beir(tmp_path / "animals")
    (folder / "corpus.jsonl").unlink()
    write_lines(folder / "corpus" / "part.jsonl", [{"_id": "fox", "title": "Fox", "text": "red"}])
    assert read_beir(folder).corpus == {"fox": "Fox\nred"}


def test_run_of_ones_own_takes_the_place_of_bm25(tmp_path: Path) -> None:
    """A run that is handed in is the first stage."""
    assert orders(read_beir(write_beir(tmp_path / "animals"), run=animals().run)) == orders(animals())


def test_qrels_without_header_are_read_whole(tmp_path: Path) -> None:
    """The first line is a header only where its third column is no number."""
    assert read_beir(write_beir(tmp_path / "animals", qrels="q1\tfox\t1\n")).qrels == {"q1": {"fox": 1}}


@pytest.mark.parametrize(
    ("qrels", "said"),
    [
        ("q1\tfox\tgood\nq1\tfox\tbad\n", "test.tsv, line 2: must be query, text and grade"),
        ("q1\tfox\n", "line 1: must be query, text and grade"),
        ("q1\tfox\t1\nq1\tfox\t2\n", "line 2: text 'fox' was judged 1 for query 'q1' before"),
        ("", "at least one judgement"),
        ("other\tfox\t1\n", "at least one query of animals test must have a judgement"),
    ],
)
def test_bad_qrels_say_where(tmp_path: Path, qrels: str, said: str) -> None:
    """Judgements that can't be read, contradict each other, or name no query are refused with file and line."""
    with pytest.raises(InputError, match=said):
        read_beir(write_beir(tmp_path / "animals", qrels=qrels))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["\n", "{"], "corpus.jsonl, line 2 must be JSON in UTF-8"),
        ([{"text": "no id"}], 'must be a JSON object with "_id"'),
        ([{"_id": "a", "text": 3}], 'a string "text"'),
        ([[1]], "corpus.jsonl, line 1 must be a JSON object, got"),
        ([{"_id": "a", "text": "x"}, {"_id": "a", "text": "y"}], "must name each id once, and 'a' comes twice"),
    ],
)
def test_bad_corpus_says_where(tmp_path: Path, lines: list[Any], said: str) -> None:
    """A corpus line that can't be read, or an id that comes twice, is refused."""
    folder = write_beir(tmp_path / "animals")
    write_lines(folder / "corpus.jsonl", lines)
    with pytest.raises(InputError, match=said):
        read_beir(folder)


def test_missing_parts_of_a_beir_folder_are_named(tmp_path: Path) -> None:
    """The folder, the split, the corpus and the queries are each missed by name."""
    with pytest.raises(InputError, match=r"must be a folder with corpus\.jsonl"):
        read_beir(tmp_path / "nowhere")
    folder = write_beir(tmp_path / "animals")
    with pytest.raises(InputError, match=r"the split must be one of test in .*, got 'dev'"):
        read_beir(folder, "dev")
    (folder / "queries.jsonl").rename(tmp_path / "queries.jsonl")
    with pytest.raises(InputError, match=r"queries\.jsonl must be a file"):
        read_beir(folder)
    (tmp_path / "queries.jsonl").rename(folder / "queries.jsonl")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match="has neither"):
        read_beir(folder)


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Latin-1 is no UTF-8, and the file and the line are named."""
    folder = write_beir(tmp_path / "animals")
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"queries\.jsonl, line 1 must be JSON in UTF-8"):
        read_beir(folder)


def test_trec_run_is_read_in_trec_evals_order(tmp_path: Path) -> None:
    """Scores decide and not the rank column; ties fall by text id."""
    collection = read_trec(**write_trec(tmp_path, LINES))
    assert orders(collection) == {"q1": ["fox", "dog"], "q2": ["whale", "dog", "bee"], "q3": []}
    assert collection.run["q1"][0].score == 3.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q1 Q0 fox", "line 1: must be 'query Q0 text rank score tag'"),
        ("q1 Q0 fox 1 high x", "line 1: must be 'query Q0"),
        ("q1 Q0 fox 1 nan x", "the score a finite number"),
        ("q1 Q0 zebra 1 1.0 x", "must hold every text .* 1 are missing, such as 'zebra'"),
        ("q9 Q0 fox 1 1.0 x", "must name a query that is there"),
    ],
)
def test_bad_trec_run_says_why(tmp_path: Path, line: str, said: str) -> None:
    """A run line that can't be read, or that names what isn't there, is refused."""
    with pytest.raises(InputError, match=said):
        read_trec(**write_trec(tmp_path, [line]))


def test_bad_tab_file_says_where(tmp_path: Path) -> None:
    """A line of questions without a tab is refused."""
    files = write_trec(tmp_path, LINES) | {"queries": write_lines(tmp_path / "q.tsv", ["q1 red fox\n"])}
    with pytest.raises(InputError, match=r"q\.tsv, line 1: must be id, tab and text"):
        read_trec(**files)


def test_json_run_is_read_by_rank(tmp_path: Path) -> None:
    """Hits are ordered by their ranks, since their rounded scores tie; a topic without hits is skipped."""
    hits = [HIT, HIT | {"docid": 8, "rank": 1, "content": "a"}]
    path = tmp_path / "run.json"
    path.write_text(json.dumps([{"query": "red fox", "hits": hits}, {"query": "none", "hits": []}]))
    collection = read_trec_json(path, write_lines(tmp_path / "qrels", ["1 0 7 1\n"]))
    assert orders(collection) == {"1": ["8", "7"]}
    assert collection.corpus == {"7": "b", "8": "a"}


def test_squad_gives_paragraphs_answers_and_judgements(tmp_path: Path) -> None:
    """Each question's own paragraph is its relevant text, and its answers are kept once each."""
    (tmp_path / "squad.json").write_text(json.dumps(squad()))
    collection = read_squad(tmp_path / "squad.json")
    assert collection.corpus == {"Fox/0": "a red fox", "Fox/1": "a dog"}
    assert collection.qrels == {"q": {"Fox/0": 1}}
    assert collection.answers == {"q": ("fox",)}
    assert orders(collection) == {"q": ["Fox/0"]}


def test_squad_can_be_cut_to_articles(tmp_path: Path) -> None:
    """Given titles are both the questions and the corpus."""
    (tmp_path / "squad.json").write_text(json.dumps(squad("A", "B", "C")))
    collection = read_squad(tmp_path / "squad.json", titles=["C", "A"])
    assert list(collection.corpus) == ["A/0", "C/0"]
    assert list(collection.queries) == ["A-q", "C-q"]


@pytest.mark.parametrize(
    ("content", "how", "said"),
    [
        ("[", {}, "squad.json must be a file of JSON"),
        ([], {}, 'a list of articles under "data"'),
        (squad("A"), {"titles": ["Z"]}, "must have the article 'Z', and has A"),
        (squad("A", "A"), {}, "must name each id once, and 'A/0' comes twice"),
        ({"data": [{"title": "A", "paragraphs": [{"context": "x"}]}]}, {}, "paragraph A/0: must be .*KeyError: 'qas'"),
        (squad(answers=[]), {}, "at least one query"),
    ],
)
def test_bad_squad_says_why(tmp_path: Path, content: Any, how: dict[str, Any], said: str) -> None:
    """A file of another form, an unknown title, or one without an answer is refused."""
    (tmp_path / "squad.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=said):
        read_squad(tmp_path / "squad.json", **how)


def test_squad_question_comes_once(tmp_path: Path) -> None:
    """Two questions with one id are refused."""
    content = squad("A", "B")
    for article in content["data"]:
        article["paragraphs"][0]["qas"][0]["id"] = "same"
    (tmp_path / "squad.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="each id once, and 'same' comes twice"):
        read_squad(tmp_path / "squad.json")

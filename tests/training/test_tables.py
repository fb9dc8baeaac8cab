"""Tables: which columns mean what, and which rows are refused."""

import csv
import json
from pathlib import Path

import pytest

from secondpass.errors import InputError
from secondpass.training import Examples, Group, examples_of, read_table, read_texts
from secondpass.training.data import normalised


def located(*rows: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]


def test_pairs_of_a_question_are_one_group(tmp_path: Path) -> None:
    """CSV, TSV and JSON Lines hold the same: quotes, line breaks, a byte order mark and all."""
    rows = [("q, one", 'a "b"\nc', 1), ("other", "d\u2028e", 0), ("q, one", "f\tg", 0)]
    for name, dialect in (("train.csv", "excel"), ("train.tsv", "excel-tab")):
        with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, dialect).writerows([("query", "text", "label"), *rows])
    lines = [json.dumps(dict(zip(("query", "text", "label"), row, strict=True)), ensure_ascii=False) for row in rows]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    expected = (Group("q, one", ('a "b"\nc', "f\tg"), (1.0, 0.0)), Group("other", ("d\u2028e",), (0.0,)))
    for name in ("train.csv", "train.tsv", "train.jsonl"):
        assert read_table(tmp_path / name) == Examples(expected, "pairs")


def test_the_columns_decide_the_shape() -> None:
    """Similarities, classes, lists, triplets with several negatives, and margins are told apart."""
    similar = examples_of(located({"sentence1": "a", "sentence2": "b", "score": "0.25"}))
    assert similar == Examples((Group("a", ("b",), (0.25,)),), "pairs")
    claims = examples_of(
        located(
            {"premise": "a", "hypothesis": "b", "label": "neutral"},
            {"premise": "a", "hypothesis": "c", "label": "entailment"},
        )
    )
    assert claims == Examples((Group("a", ("b", "c"), (1.0, 0.0)),), "pairs", ("entailment", "neutral"))
    assert examples_of(located({"query": "a", "texts": ["b", "c"], "labels": [2, 0]})).shape == "lists"
    triplets = located({"query": "a", "positive": "b", "negative_1": "c", "negative_2": "d"})
    assert examples_of(triplets) == Examples((Group("a", ("b", "c", "d"), (1.0, 0.0, 0.0)),), "triplets")
    margins = located({"query": "a", "positive": "b", "negative": "c", "margin": -1.5})
    assert examples_of(margins) == Examples((Group("a", ("b", "c"), (-1.5, 0.0)),), "margins")
    assert examples_of(located({"question": "a", "answer": "b"})).labels == [1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "must hold at least one row"),
        ([{"a": "b"}], "columns must be query, text and label; .* they are a"),
        ([{"query": "a", "text": "b", "label": 1}, {"query": "c", "label": 1}], "row 2: every row must have the same"),
        ([{"query": "a", "text": " ", "label": 1}], "row 1: .* text in 'text'"),
        ([{"query": "a", "text": "b", "label": ""}], "row 1: 'label' must have a value"),
        ([{"query": "a", "text": "b", "label": "nan"}], "row 1: a label must be a finite number"),
        ([{"query": "a", "text": "b", "label": 1}, {"query": "a", "text": "c", "label": "yes"}], "row 2: .* all names"),
        ([{"query": "a", "text": "b", "label": 1}, {"query": "a", "text": "b", "label": 0}], "row 2: .* one label"),
        ([{"query": "a", "texts": ["b"], "labels": [1.5]}], "row 1: .* whole numbers from 0 to 20"),
        ([{"query": "a", "texts": ["b"], "labels": [-1]}], "row 1: .* whole numbers from 0 to 20"),
        ([{"query": "a", "texts": ["b"], "labels": [1, 0]}], "row 1: .* 2 labels and 1 texts"),
        ([{"query": "a", "texts": ["b"], "labels": [1]}, {"query": "a", "text": "b"}], "row 2: every row must have"),
        ([{"query": "a", "positive": "b", "negative": "b"}], "row 1: a pair must have one label"),
        ([{"query": "a", "positive": "b"}], "row 1: .* text in 'negative'"),
        ([{"query": "a", "positive": "b", "negative": "c", "margin": None}], "row 1: a label must be a number"),
    ],
)
def test_a_row_that_does_not_fit_is_named(rows: list[dict[str, object]], message: str) -> None:
    """Missing columns, empty texts, labels out of range, two labels of a pair, and shapes that change."""
    with pytest.raises(InputError, match=message):
        examples_of(located(*rows))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    """The error names the file, and the line where there is one."""
    with pytest.raises(InputError, match=r"none\.csv: a table must be a readable"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bad.jsonl").write_text('{"query": "a", "text": "b"}\n{')
    with pytest.raises(InputError, match=r"bad\.jsonl: line 2: a row must be JSON"):
        read_table(tmp_path / "bad.jsonl")
    (tmp_path / "empty.csv").write_text("query,text,label\n")
    with pytest.raises(InputError, match=r"empty\.csv: .* it is empty"):
        read_table(tmp_path / "empty.csv")


def test_a_split_has_no_question_in_both_parts() -> None:
    """The same question in another spelling stays on its side, and the seed decides which."""
    groups = tuple(Group(f"{'What' if n % 2 else 'what'} is {n // 2}?", (f"text {n}",), (1.0,)) for n in range(40))
    train, validation = Examples(groups, "pairs").split(0.2, seed=3)
    assert len(validation.groups) == 8
    assert sorted(g.texts for g in (*train.groups, *validation.groups)) == sorted(g.texts for g in groups)
    assert {normalised(g.query) for g in train.groups}.isdisjoint(normalised(g.query) for g in validation.groups)
    assert Examples(groups, "pairs").split(0.2, seed=3) == (train, validation)
    with pytest.raises(InputError, match="two questions"):
        Examples(groups[:1], "pairs").split(0.5, seed=1)


def test_texts_of_a_corpus_have_their_titles(tmp_path: Path) -> None:
    """A BEIR corpus can be mined as it is; each text counts once."""
    rows = [{"title": "T", "text": "a"}, {"title": "", "text": "b"}, {"text": "b"}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_texts(tmp_path / "corpus.jsonl") == ["T\na", "b"]

"""Tables: which columns mean what, which rows are refused, and how two parts are kept apart."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import InputError
from secondpass.training import Examples, Group, examples_of, read_table, read_texts
from secondpass.training.data import normalised, two_parts

pytestmark = pytest.mark.slow


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
    """Similarities, lists with and without labels, and triplets with several negatives are told apart."""
    similar = examples_of(located({"sentence1": "a", "sentence2": "b", "score": "0.25"}))
    assert similar == Examples((Group("a", ("b",), (0.25,)),), "pairs")
    assert examples_of(located({"query": "a", "texts": ["b", "c"], "labels": [2, 0]})).shape == "lists"
    unlabelled = located({"query": "a", "texts": ["b"], "source": "x"}, {"query": "a", "texts": ["b", "c"]})
    assert examples_of(unlabelled) == Examples((Group("a", ("b", "c")),), "lists")
    triplets = located({"query": "a", "positive": "b", "negative_1": "c", "negative_2": "d"})
    assert examples_of(triplets) == Examples((Group("a", ("b", "c", "d"), (1.0, 0.0, 0.0)),), "triplets")
    assert examples_of(located({"question": "a", "answer": "b"})).labels == [1.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "must hold at least one row"),
        ([{"a": "b"}], "columns must be query, text and label; .* they are a"),
        ([{"query": "a", "text": "b", "label": 1}, {"query": "c", "label": 1}], "row 2: every row must have the same"),
        ([{"query": "a", "text": " ", "label": 1}], "row 1: .* text in 'text'"),
        ([{"query": "a", "text": "b", "label": ""}], "row 1: a label must be a finite number, got ''"),
        ([{"query": "a", "text": "b", "label": "yes"}], "row 1: a label must be a finite number, got 'yes'"),
        ([{"query": 1, "texts": ["b"]}], "row 1: .* text in 'query'"),
        ([{"query": "a", "texts": "b"}], "row 1: .* a list of strings"),
        ([{"query": "a", "texts": []}], "row 1: a group must have texts"),
        ([{"query": "a", "texts": [" "]}], "row 1: .* none of them empty"),
        ([{"query": "a", "texts": ["b"], "labels": ["x"]}], "row 1: .* whole numbers"),
        ([{"query": "a", "text": "b", "label": "nan"}], "row 1: a label must be a finite number"),
        ([{"query": "a", "text": "b", "label": 1}, {"query": "a", "text": "b", "label": 0}], "row 2: .* one label"),
        ([{"query": "a", "text": "b", "label": 1}, {"query": "c", "text": "b"}], "row 2: .* same columns"),
        ([{"query": "a", "text": "b"}, {"query": "c", "text": "b", "label": 0}], "row 2: .* same columns"),
        ([{"query": "a", "text": "b", "label": None}], "row 1: a label must be a finite number"),
        (
            [
                {"query": "a", "positive": "b", "negative": "c", "negative_2": "d"},
                {"query": "e", "positive": "f", "negative": "g"},
            ],
            "row 2: .* as the first, query, positive, negative, negative_2; got query, positive, negative$",
        ),
        ([{"query": "a", "positive": "b", "negative": None}], "row 1: .* text in 'negative'"),
        ([{"query": "a", "texts": ["b"], "labels": [1]}, {"query": "c", "texts": ["b"]}], "row 2: .* same columns"),
        ([{"query": "a", "texts": ["b"], "labels": None}], "row 1: labels must be a list"),
        ([{"query": "a", "texts": ["b"], "labels": [1.5]}], "row 1: .* whole numbers from 0 to 20"),
        ([{"query": "a", "texts": ["b"], "labels": [-1]}], "row 1: .* whole numbers from 0 to 20"),
        ([{"query": "a", "texts": ["b"], "labels": [1, 0]}], "row 1: .* 2 labels and 1 texts"),
        ([{"query": "a", "texts": ["b"], "labels": [1]}, {"query": "a", "text": "b"}], "row 2: every row must have"),
        ([{"query": "a", "positive": "b", "negative": "b"}], "row 1: a pair must have one label"),
        ([{"query": "a", "positive": "b"}], "row 1: .* text in 'negative'"),
    ],
)
def test_a_row_that_does_not_fit_is_named(rows: list[dict[str, object]], message: str) -> None:
    """Missing columns, empty texts, labels out of range, two labels of a pair, and shapes that change."""
    with pytest.raises(InputError, match=message):
        examples_of(located(*rows))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    """The error names the file, and the line where there is one."""
    with pytest.raises(InputError, match=r"a readable CSV, TSV or JSON Lines file .*none\.csv"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bad.jsonl").write_text('{"query": "a", "text": "b"}\n{')
    with pytest.raises(InputError, match=r"bad\.jsonl, line 2 must be JSON"):
        read_table(tmp_path / "bad.jsonl")
    (tmp_path / "empty.csv").write_text("query,text,label\n")
    with pytest.raises(InputError, match=r"empty\.csv must .* it is empty"):
        read_table(tmp_path / "empty.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("query,text,label\na,b,1\nc,d, e,0\n", "line 3: there must be 3 fields, .* got 4: .* in quotes"),
        ("query,positive,negative,negative_2\na,b,c,d\ne,f,g\n", "line 3: there must be 4 fields, .* got 3"),
        ('query,text,label\na,"b,1\nc,d,0\n', "line 3: there must be 3 fields, .* got 2"),
        ("query,text,text\na,b,1\n", "line 1: every column must have a name of its own"),
    ],
)
def test_a_line_with_other_fields_is_named(tmp_path: Path, content: str, message: str) -> None:
    """An unquoted comma, a missing field, an open quote and a column that comes twice are errors with their line."""
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(InputError, match=rf"train\.csv, {message}"):
        read_table(tmp_path / "train.csv")


def test_names_of_columns_have_no_case(tmp_path: Path) -> None:
    """A label under ``Label``, or behind a blank, is one."""
    (tmp_path / "train.csv").write_text("Query, text, Label\na,b,0\n")
    assert read_table(tmp_path / "train.csv").labels == [0.0]


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


def test_parts_that_judge_nothing_are_refused() -> None:
    """An empty part, another shape, and a question in both, whatever its case, punctuation and spacing."""
    train = Examples((Group("What is a flea?", ("x",)),))
    leak = Examples((Group("what is  a FLEA", ("y",)), Group("other", ("y",))))
    other = Examples((Group("other", ("y",), (1.0,)),), "pairs")
    for validation, message in (
        (leak, "1 are, such as 'what is  a FLEA'"),
        (Examples(()), "the validation data must hold at least one"),
        (other, "the shape of the training data, lists"),
    ):
        with pytest.raises(InputError, match=message):
            two_parts(train, validation, 1)


@given(st.lists(st.text("ab? ", min_size=1).filter(str.strip), min_size=1), st.integers(0, 5))
def test_a_hash_tells_any_two_data_sets_apart(queries: list[str], cut: int) -> None:
    """The same groups hash alike, and any other list of them does not."""
    groups = tuple(Group(query, ("x",)) for query in queries)
    own = Examples(groups).summary()["sha256"]
    assert own == Examples(groups).summary()["sha256"]
    assert own != Examples((*groups[:cut], Group("new", ("x",)), *groups[cut:])).summary()["sha256"]

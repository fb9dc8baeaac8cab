"""Groups: what is learned from, and what is refused before anything is learned."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import InputError
from secondpass.training.data import Group, check_split, groups_hash, read_groups


def test_groups_are_read_from_json_lines(tmp_path: Path) -> None:
    """Each line is a question with its texts; labels may be there or not, other keys are ignored."""
    path = tmp_path / "train.jsonl"
    lines = [
        {"query": "q", "texts": ["a", "b"], "labels": [1, 0], "source": "x"},
        {"query": "p", "texts": ["ü and a line\u2028separator"]},
    ]
    path.write_text("\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    assert read_groups(path) == [Group("q", ("a", "b"), (1, 0)), Group("p", ("ü and a line\u2028separator",))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "must be JSON"),
        ("[]", 'string "query"'),
        ('{"query": 1, "texts": ["a"]}', 'string "query"'),
        ('{"query": "q", "texts": "a"}', "list of strings"),
        ('{"query": "q", "texts": [1]}', "list of strings"),
        ('{"query": "q", "texts": []}', "must have texts"),
        ('{"query": "q", "texts": [" "]}', "none of them empty"),
        ('{"query": " ", "texts": ["a"]}', "query must not be empty"),
        ('{"query": "q", "texts": ["a"], "labels": [1, 0]}', "2 labels and 1 texts"),
        ('{"query": "q", "texts": ["a"], "labels": ["x"]}', "whole numbers"),
    ],
)
def test_a_line_that_is_no_group_is_named(tmp_path: Path, line: str, message: str) -> None:
    """The error says which line of which file, and what it must hold."""
    path = tmp_path / "train.jsonl"
    path.write_text('{"query": "q", "texts": ["a"]}\n' + line, encoding="utf-8")
    with pytest.raises(InputError, match=rf"(?s)train\.jsonl, line 2: .*{message}"):
        read_groups(path)


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    """A run never starts on nothing."""
    with pytest.raises(InputError, match="readable JSON Lines"):
        read_groups(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="at least one group"):
        read_groups(tmp_path / "empty.jsonl")


@pytest.mark.parametrize("name", ["train", "validation"])
def test_both_sides_of_a_split_must_hold_something(name: str) -> None:
    """The error says which of the two is empty."""
    sides = {"train": [Group("a", ("x",))], "validation": [Group("b", ("x",))]}
    sides[name] = []
    with pytest.raises(InputError, match=f"the {name} data"):
        check_split(**sides)


def test_there_must_be_two_texts_to_tell_apart() -> None:
    """Validation is by order within a question; so is what margin-mse learns."""
    alone, two = [Group("what is it", ("a cat",))] * 2, [Group("how is it", ("a dog", "a fish"))]
    with pytest.raises(InputError, match=r"the validation data must hold a question with two texts .* all 2 have one"):
        check_split(two, alone)
    check_split(alone, two)
    with pytest.raises(InputError, match="the train data must hold a question with two texts"):
        check_split(alone, two, within_questions=True)


def test_a_question_in_train_and_validation_is_a_leak() -> None:
    """It is found whatever its case, punctuation and spacing, and the error names it."""
    train, validation = [Group("What is a flea?", ("x",))], [Group("what is  a FLEA", ("y",)), Group("other", ("y",))]
    with pytest.raises(InputError, match="1 are, such as 'what is  a FLEA'"):
        check_split(train, validation)


@given(st.lists(st.text("ab? ", min_size=1).filter(str.strip), min_size=1), st.integers(0, 5))
def test_a_hash_tells_any_two_sets_of_groups_apart(queries: list[str], cut: int) -> None:
    """The same groups hash alike, and any other list of them does not."""
    groups = [Group(query, ("x",)) for query in queries]
    assert groups_hash(groups) == groups_hash(list(groups))
    assert groups_hash(groups) != groups_hash([*groups[:cut], Group("new", ("x",)), *groups[cut:]])

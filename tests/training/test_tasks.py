"""Tasks: the loss follows from the data, and rows hold what the loss learns from."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import ConfigurationError, InputError
from secondpass.training import Examples, FinetuneSettings, Group
from secondpass.training.settings import Loss
from secondpass.training.tasks import LOSSES, METRICS, choose_task

ONE = SimpleNamespace(num_labels=1, config=SimpleNamespace(id2label={0: "LABEL_0"}))
THREE = SimpleNamespace(num_labels=3, config=SimpleNamespace(id2label={0: "no", 1: "yes", 2: "maybe"}))
labels = st.lists(st.integers(0, 3), min_size=2, max_size=12).filter(lambda own: len(set(own)) > 1)


def pairs(*values: float, classes: tuple[str, ...] = ()) -> Examples:
    return Examples(tuple(Group(f"q{n}", ("t",), (value,)) for n, value in enumerate(values)), "pairs", classes)


def lists(*own: tuple[float, ...], shape: str = "lists") -> Examples:
    groups = [Group(f"q{n}", tuple(f"t{i}" for i in range(len(grades))), grades) for n, grades in enumerate(own)]
    return Examples(tuple(groups), shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "model", "kind", "loss"),
    [
        (pairs(0, 1), ONE, "binary", "bce"),
        (pairs(0, 1, 3), ONE, "similarity", "mse"),
        (pairs(0.2, 0.7), ONE, "similarity", "mse"),
        (pairs(0, 1, 2), THREE, "classes", "cross-entropy"),
        (pairs(0, 1, classes=("no", "yes")), ONE, "classes", "cross-entropy"),
        (lists((1, 0)), ONE, "ranking", "lambda"),
        (lists((1, 0), shape="triplets"), ONE, "ranking", "ranknet"),
        (lists((2.5, 0), shape="margins"), ONE, "margins", "margin-mse"),
    ],
)
def test_the_loss_follows_from_the_data(data: Examples, model: object, kind: str, loss: str) -> None:
    """So does the measure that chooses the checkpoint; a chosen loss is taken where it fits."""
    task = choose_task(data, data, "auto", model)
    assert (task.kind, task.loss, task.metric) == (kind, loss, METRICS[task.kind])
    for name, other in LOSSES.items():
        if kind in other.kinds:
            assert choose_task(data, data, name, model).loss == name
        else:
            with pytest.raises(ConfigurationError, match=f"learns {kind} data .*{loss}.* got {name}"):
                choose_task(data, data, name, model)


def test_every_loss_can_be_named_in_the_settings() -> None:
    """The two lists are one."""
    assert {"auto", *LOSSES} == set(Loss.__args__)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="loss must be one of auto, bce"):
        FinetuneSettings(loss="hinge")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("train", "validation", "model", "message"),
    [
        (pairs(1, 1), pairs(1, 0), ONE, "the train data must hold labels of two values .* all 2 are 1. .*mine"),
        (pairs(1, 0), pairs(0), ONE, "the validation data must hold labels of two values"),
        (
            pairs(1, 0),
            pairs(1, 0, 0.5),
            ONE,
            "labels must be whole numbers from 0 to 1, .* 1 of the validation data's .* 0.5",
        ),
        (pairs(1, 5, 3), pairs(2, 6), ONE, "labels must be from 1 to 5, .* such as 6"),
        (
            pairs(0, 3),
            pairs(0, 1),
            THREE,
            "labels must be whole numbers from 0 to 2, .* of the train data's aren't, such as 3",
        ),
        (lists((1, 1), (0, 0)), lists((1, 0)), ONE, "the train data must hold a question with texts of different"),
        (lists((1, 0)), lists((1,)), ONE, "the validation data must hold a question with texts of different"),
    ],
)
def test_labels_that_teach_or_judge_nothing_are_refused(
    train: Examples, validation: Examples, model: object, message: str
) -> None:
    """One class alone, and labels out of the training data's or the model's range, are known before the first step."""
    with pytest.raises(InputError, match=message):
        choose_task(train, validation, "auto", model)


@given(st.lists(labels, min_size=1, max_size=4), st.integers(2, 6))
def test_every_text_is_in_a_list_with_one_of_another_label(own: list[list[int]], size: int) -> None:
    """Lists are of at most that size, and none is of one label alone, which would teach no order."""
    data = lists(*map(tuple, own))
    task = choose_task(data, data, "auto", ONE)
    rows = task.rows(data.groups, [[7] * len(grades) for grades in own], FinetuneSettings(list_size=size))
    for number, grades in enumerate(own):
        mine = [row.positions for row in rows if row.group == number]
        dealt = {position for positions in mine for position in positions}
        assert len(dealt) >= len(grades) - len(mine)  # a list of one label gives its last text up
        assert all(2 <= len(positions) <= size for positions in mine)
        assert all(len({grades[position] for position in positions}) > 1 for positions in mine)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=12).filter(lambda own: len(set(own)) > 1), st.integers(2, 5))
def test_triplets_are_a_positive_and_a_negative(own: list[int], size: int) -> None:
    """Every positive is in one, with at most ``list_size - 1`` negatives on average."""
    data = lists(tuple(own))
    task = choose_task(data, data, "multiple-negatives", ONE)
    rows = task.rows(data.groups, [[7] * len(own)], FinetuneSettings(list_size=size))
    assert {row.positions[0] for row in rows} == {n for n, label in enumerate(own) if label}
    assert all(own[row.positions[1]] == 0 for row in rows)
    assert len(rows) <= max(sum(own) * (size - 1), sum(own))
    assert len(set(rows)) == len(rows) or len(rows) > len(own)


def test_columns_are_what_each_loss_expects() -> None:
    """Grades become 0 to 1 where each is learned by itself, classes whole numbers, margins differences."""
    graded = pairs(1, 5, 3)
    task = choose_task(graded, graded, "auto", ONE)
    rows = task.rows(graded.groups, [[5]] * 3, FinetuneSettings())
    assert task.columns(graded.groups, rows) == {"query": ["q0", "q1", "q2"], "text": ["t"] * 3, "label": [0, 1, 0.5]}
    margins = lists((-2.5, 0), (3.0, 0), shape="margins")
    task = choose_task(margins, margins, "auto", ONE)
    rows = task.rows(margins.groups, [[5, 6]] * 2, FinetuneSettings())
    columns = task.columns(margins.groups, rows)
    assert columns == {"query": ["q0", "q1"], "positive": ["t0"] * 2, "negative": ["t1"] * 2, "label": [-2.5, 3.0]}
    ranked = lists((2, 0, 1))
    task = choose_task(ranked, ranked, "auto", ONE)
    columns = task.columns(ranked.groups, task.rows(ranked.groups, [[1, 2, 3]], FinetuneSettings()))
    assert columns == {"query": ["q0"], "texts": [["t0", "t2", "t1"]], "labels": [[2, 1, 0]]}

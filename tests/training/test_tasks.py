"""Tasks: the loss follows from the data, and rows hold what the loss learns from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import ConfigurationError, InputError
from secondpass.training import LOSSES, Examples, FinetuneSettings, Group
from secondpass.training.settings import Loss
from secondpass.training.tasks import METRICS, choose_task

pytestmark = pytest.mark.slow


labels = st.lists(st.integers(0, 3), min_size=2, max_size=12).filter(lambda own: len(set(own)) > 1)


def pairs(*values: float) -> Examples:
    return Examples(tuple(Group(f"q{n}", ("t",), (value,)) for n, value in enumerate(values)), "pairs")


def lists(*own: tuple[float, ...], shape: str = "lists") -> Examples:
    groups = [Group(f"q{n}", tuple(f"t{i}" for i in range(len(grades))), grades) for n, grades in enumerate(own)]
    return Examples(tuple(groups), shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "kind", "loss"),
    [
        (pairs(0, 1), "binary", "bce"),
        (pairs(0, 1, 3), "similarity", "mse"),
        (pairs(0.2, 0.7), "similarity", "mse"),
        (lists((1, 0)), "ranking", "lambda"),
        (lists((1, 0), shape="triplets"), "ranking", "ranknet"),
    ],
)
def test_the_loss_follows_from_the_data(data: Examples, kind: str, loss: str) -> None:
    """A chosen loss is taken where it fits; lists need an order, which single similarities have none of."""
    task = choose_task(data, data, "auto")
    assert (task.kind, task.loss) == (kind, loss)
    assert task.kind in METRICS
    for name in LOSSES:
        if kind == "similarity" and name not in {"bce", "mse"}:
            with pytest.raises(ConfigurationError, match=rf"similarities \(bce, mse\), got {name}"):
                choose_task(data, data, name)
        else:
            assert choose_task(data, data, name).loss == name


def test_every_loss_can_be_named_in_the_settings() -> None:
    """The two lists are one."""
    assert {"auto", *LOSSES} == set(Loss.__args__)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="loss must be one of auto, bce"):
        FinetuneSettings(loss="hinge")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (pairs(1, 1), pairs(1, 0), "the train data must hold labels of two values .* all 2 are 1. .*mine"),
        (pairs(1, 0), pairs(0), "the validation data must hold labels of two values"),
        (pairs(1, 0), pairs(1, 0, 0.5), "labels must be from 0 to 1, .* 1 of the validation data's .* 0.5"),
        (pairs(1, 5, 3), pairs(2, 6), "labels must be from 1 to 5, .* such as 6"),
        (lists((1, 1), (0, 0)), lists((1, 0)), "the train data must hold a question with texts of different"),
        (lists((1, 0)), lists((1,)), "the validation data must hold a question with texts of different"),
        (Examples((Group("q", ("t",)),)), lists((1, 0)), "every text of the train data must have a label"),
    ],
)
def test_labels_that_teach_or_judge_nothing_are_refused(train: Examples, validation: Examples, message: str) -> None:
    """Labels of one value, out of the training data's range, or missing are known before the first step."""
    with pytest.raises(InputError, match=message):
        choose_task(train, validation, "auto")


@given(st.lists(labels, min_size=1, max_size=4), st.integers(2, 6))
def test_every_text_is_in_a_list_with_one_of_another_label(own: list[list[int]], size: int) -> None:
    """Lists are of at most that size, and none is of one label alone, which would teach no order."""
    data = lists(*map(tuple, own))
    columns = choose_task(data, data, "auto").columns(data.groups, FinetuneSettings(list_size=size))
    for number, grades in enumerate(own):
        mine = [position for position, query in enumerate(columns["query"]) if query == f"q{number}"]
        dealt = {text for position in mine for text in columns["texts"][position]}
        assert len(dealt) >= len(grades) - len(mine)  # a list of one label gives its last text up
        assert all(2 <= len(columns["texts"][position]) <= size for position in mine)
        assert all(len(set(columns["labels"][position])) > 1 for position in mine)


def test_columns_are_what_each_loss_expects() -> None:
    """Grades become 0 to 1 where each is learned by itself, and stay as they are in lists."""
    graded = pairs(1, 5, 3)
    columns = choose_task(graded, graded, "auto").columns(graded.groups, FinetuneSettings())
    assert columns == {"query": ["q0", "q1", "q2"], "text": ["t"] * 3, "label": [0, 1, 0.5]}
    ranked = lists((2, 0, 1))
    columns = choose_task(ranked, ranked, "auto").columns(ranked.groups, FinetuneSettings())
    assert columns == {"query": ["q0"], "texts": [["t0", "t2", "t1"]], "labels": [[2, 1, 0]]}

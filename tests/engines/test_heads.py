"""The output head: raw outputs to one value, labels and length from the configuration."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.engines.heads import read_head, read_max_length
from secondpass.errors import ModelError
from secondpass.records import LOGIT, ScaleKind
from secondpass.scoring.engine import Head

logits = st.floats(-1e6, 1e6)


def softmax(row: list[float], column: int) -> float:
    """Return a column's softmax probability, by its definition."""
    top = max(row)
    return math.exp(row[column] - top) / sum(math.exp(value - top) for value in row)


def test_one_label_is_its_own_value() -> None:
    """A model with one output gives its logit unchanged."""
    assert read_head({}, labels=1).value([9.219]) == 9.219


def test_two_labels_give_their_difference() -> None:
    """The log-odds of the second label against the first are the difference of the logits."""
    assert read_head({}, labels=2).value([1.5, 4.0]) == 2.5


def test_three_labels_by_hand() -> None:
    """Of three equal logits each has the probability 1/3, so that the odds are 1 to 2."""
    head = read_head({}, labels=3, label=0)
    assert head.value([5.0, 5.0, 5.0]) == pytest.approx(math.log(1 / 2))


@given(row=st.lists(st.floats(-30, 30), min_size=2, max_size=5))
def test_the_probability_is_the_softmax(row: list[float]) -> None:
    """With several labels, the value's logistic function is the positive label's softmax probability."""
    head = read_head({}, labels=len(row), label=0)
    assert head.scale.probability(head.value(row)) == pytest.approx(softmax(row, 0), abs=1e-9)


@pytest.mark.parametrize("row", [[-1e300, 1e300], [1e300, -1e300], [800.0, 900.0]], ids=str)
def test_huge_logits_do_not_overflow(row: list[float]) -> None:
    """Logits of any size give a value and a probability without an OverflowError."""
    head = read_head({}, labels=2)
    assert head.scale.probability(head.value(row)) == (1.0 if row[1] > row[0] else 0.0)


@pytest.mark.parametrize(
    "row",
    [[math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0], [0.0, math.inf], [-math.inf, 0.0], [1.0, -math.inf]],
    ids=str,
)
def test_values_that_are_not_finite_stay_so(row: list[float]) -> None:
    """NaN or infinity among the outputs never becomes a finite value."""
    assert not math.isfinite(read_head({}, labels=2).value(row))


@pytest.mark.parametrize(
    ("names", "column"),
    [
        ({"0": "contradiction", "1": "entailment", "2": "neutral"}, 1),
        ({"0": "ENTAILMENT", "1": "NEUTRAL", "2": "CONTRADICTION"}, 0),
        ({0: "no", 1: "maybe", 2: "Yes"}, 2),
        ({"0": "relevant", "1": "not relevant"}, 0),
        ({"0": "entailment", "1": "not_entailment"}, 0),
        ({"0": "LABEL_0", "1": "LABEL_1"}, 1),
    ],
    ids=["NLI", "NLI in capitals", "yes", "relevant first", "entailment first", "two without names"],
)
def test_the_positive_label_is_found_by_name(names: dict[Any, str], column: int) -> None:
    """Entailment, relevant, yes and their like are found by name; of two unnamed labels it is the second."""
    assert read_head({"id2label": names}, labels=len(names)).positive == column


@pytest.mark.parametrize(
    "config", [{}, {"id2label": {"0": "a", "1": "b", "2": "c"}}], ids=["no names", "names that say nothing"]
)
def test_three_labels_without_a_positive_one_are_an_error(config: dict[str, Any]) -> None:
    """Which of three unnamed columns means relevant is not guessed; the message names the option."""
    with pytest.raises(ModelError, match=r"3 labels .* LoadOptions\(label=\.\.\.\)"):
        read_head(config, labels=3)


def test_the_user_may_name_the_column() -> None:
    """A column given by the user counts before every name."""
    assert read_head({"id2label": {"0": "entailment", "1": "other"}}, labels=2, label=1).positive == 1


@pytest.mark.parametrize("label", [-1, 2])
def test_a_column_that_does_not_exist_is_an_error(label: int) -> None:
    """A column must be one that the model has."""
    with pytest.raises(ModelError, match=f"label must be a column from 0 to 1, got {label}"):
        read_head({}, labels=2, label=label)


@pytest.mark.parametrize(
    ("config", "declared"),
    [
        ({}, "nothing declared"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "Identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, "Sigmoid"),
    ],
    ids=["nothing", "new name", "old name"],
)
def test_a_declared_activation_is_reported_and_not_applied(config: dict[str, Any], declared: str) -> None:
    """The activation that the configuration declares is reported, and the raw logits stay log-odds."""
    head = read_head(config, labels=1)
    assert (head.scale.kind, head.scale.declared) == (ScaleKind.LOGIT, declared)
    assert head.value([-3.0]) == -3.0


@pytest.mark.parametrize("squashed_by", ["sigmoid", "softmax"])
def test_outputs_that_are_probabilities_stay(squashed_by: str) -> None:
    """Outputs of a graph that ends in a sigmoid or softmax stay as they are."""
    head = read_head({}, labels=2, squashed_by=squashed_by)
    assert head.value([0.3, 0.7]) == 0.7
    assert head.scale.probability(0.7) == 0.7


@given(row=st.lists(logits, min_size=2, max_size=4))
def test_a_higher_positive_logit_is_a_higher_value(row: list[float]) -> None:
    """Raising the positive label's logit raises the value."""
    head = Head(len(row), 0, LOGIT)
    assert head.value([row[0] + 1e3, *row[1:]]) > head.value(row)


BERT = {"max_position_embeddings": 512}
ROBERTA = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("requested", "config", "tokenizer_config", "length"),
    [
        (None, {}, {}, 512),
        (None, BERT, {}, 512),
        (None, BERT, {"model_max_length": 256}, 256),
        (None, BERT, {"model_max_length": 1e30}, 512),
        (None, {}, {"model_max_length": 1e30}, 512),
        (None, {"max_position_embeddings": 8192}, {"model_max_length": 8192}, 8192),
        (None, ROBERTA, {}, 512),
        (None, ROBERTA | {"pad_token_id": None}, {}, 512),
        (128, BERT, {}, 128),
        (512, BERT, {"model_max_length": 256}, 512),
        (9999, {}, {}, 9999),
    ],
    ids=[
        "nothing declared",
        "positions",
        "the tokenizer says less",
        "the tokenizer says no limit",
        "no limit at all",
        "long",
        "RoBERTa: two positions less",
        "RoBERTa without a padding index",
        "requested",
        "requested more than the tokenizer says",
        "requested, no limit known",
    ],
)
def test_the_longest_pair(
    requested: int | None, config: dict[str, Any], tokenizer_config: dict[str, Any], length: int
) -> None:
    """The length is the requested one, else the smallest limit that the model declares."""
    assert read_max_length(requested, config, tokenizer_config) == length


@pytest.mark.parametrize(("requested", "config"), [(513, BERT), (513, ROBERTA), (7, BERT), (0, {}), (-1, {})])
def test_a_length_out_of_range_is_an_error(requested: int, config: dict[str, Any]) -> None:
    """More than the model's positions, or less than a pair needs, is a ModelError."""
    with pytest.raises(ModelError, match=f"max_length must be from 8 .* got {requested}"):
        read_max_length(requested, config, {})

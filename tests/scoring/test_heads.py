"""From rows of raw outputs to one value."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import ModelError
from secondpass.scores import LOGIT, ScaleKind
from secondpass.scoring.heads import Head, read_head, read_max_length

LOGITS = st.floats(-30, 30)


@given(LOGITS)
def test_one_label_is_its_own_value(logit: float) -> None:
    """A single output is the value as it is."""
    assert Head(1, 0, LOGIT).value([logit]) == logit


@given(st.lists(LOGITS, min_size=2, max_size=3), st.data())
def test_the_values_probability_is_the_softmax_share(row: list[float], data: st.DataObject) -> None:
    """The log-odds against all other labels, through the logistic function, are the softmax probability."""
    positive = data.draw(st.integers(0, len(row) - 1))
    share = math.exp(row[positive]) / sum(math.exp(logit) for logit in row)
    assert LOGIT.probability(Head(len(row), positive, LOGIT).value(row)) == pytest.approx(share, abs=1e-9)


def test_huge_logits_do_not_overflow() -> None:
    """Outputs of ten thousand are odd, and no reason to fail."""
    assert Head(2, 1, LOGIT).value([-1e4, 1e4]) == pytest.approx(2e4)


@pytest.mark.parametrize("row", [[math.nan, 1.0], [1.0, math.nan], [math.inf, 1.0], [1.0, -math.inf]])
def test_what_is_not_finite_stays_so(row: list[float]) -> None:
    """NaN and infinity never turn into a number that could be ranked."""
    assert not math.isfinite(Head(2, 1, LOGIT).value(row))


@pytest.mark.parametrize(
    ("names", "column"),
    [
        ({}, 1),
        ({"0": "LABEL_0", "1": "LABEL_1"}, 1),
        ({"0": "entailment", "1": "not_entailment"}, 0),
        ({"0": "contradiction", "1": "ENTAILMENT", "2": "neutral"}, 1),
        ({"0": "irrelevant", "1": "partly", "2": "relevant"}, 2),
    ],
)
def test_the_positive_label_is_found_by_its_name(names: dict[str, str], column: int) -> None:
    """Entailment or relevance is looked up by name; of two unnamed labels the second is positive."""
    assert read_head({"id2label": names}, max(2, len(names))).positive == column


def test_unnamed_labels_are_asked_about() -> None:
    """Three labels that say nothing are an error that tells how to answer."""
    with pytest.raises(ModelError, match=r"LoadOptions\(label="):
        read_head({}, 3)


def test_a_column_that_is_not_there_is_refused() -> None:
    """A label beyond the model's outputs is an error with the range."""
    with pytest.raises(ModelError, match="from 0 to 1"):
        read_head({}, 2, label=2)


@pytest.mark.parametrize(
    ("config", "declared"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "Identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, "Sigmoid"),
        ({}, "nothing declared"),
    ],
)
def test_the_declared_activation_is_read(config: dict[str, Any], declared: str) -> None:
    """Both spellings of the configuration are known; raw values are logits either way."""
    scale = read_head(config, 1).scale
    assert (scale.kind, scale.declared) == (ScaleKind.LOGIT, declared)


@pytest.mark.parametrize(
    ("requested", "config", "tokenizer", "length"),
    [
        (None, {"max_position_embeddings": 512}, {"model_max_length": 1e30}, 512),
        (None, {"max_position_embeddings": 512}, {"model_max_length": 256}, 256),
        (None, {"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, {}, 512),
        (None, {}, {}, 512),
        (128, {"max_position_embeddings": 512}, {}, 128),
    ],
    ids=["positions", "tokenizer", "roberta", "nothing-known", "asked-for"],
)
def test_the_length_is_the_smallest_limit(
    requested: int | None, config: dict[str, Any], tokenizer: dict[str, Any], length: int
) -> None:
    """The longest pair is what was asked for, else the smallest limit that the model's files declare."""
    assert read_max_length(requested, config, tokenizer) == length


@pytest.mark.parametrize("requested", [0, 7, 513])
def test_a_length_that_cannot_work_is_refused(requested: int) -> None:
    """A length that leaves no room for a pair, or goes beyond the model's positions, is an error."""
    with pytest.raises(ModelError, match="max_length must be from 8 to 512"):
        read_max_length(requested, {"max_position_embeddings": 512}, {})

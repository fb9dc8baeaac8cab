"""The last layer for the first token alone: exact, or not at all."""

from pathlib import Path

import pytest

pytest.importorskip("onnxscript", reason="the extra train isn't installed")

import torch
from optimize_worlds import some_pairs
from sentence_transformers import CrossEncoder as Model

from secondpass.models.files import ModelFolder
from secondpass.optimize.checkpoint import (
    FirstTokenLayer,
    logits,
    open_model,
    reads_first_token_only,
    use_first_token_layer,
)

pytestmark = pytest.mark.slow


PAIRS = some_pairs(24)


@pytest.fixture
def model(tiny_torch_folder: Path) -> Model:
    """Return a tiny BERT, opened."""
    return open_model(ModelFolder(tiny_torch_folder))


def flat(model: Model) -> list[float]:
    return [value for row in logits(model, PAIRS) for value in row]


def test_a_shortened_model_scores_the_same(model: Model) -> None:
    """In batches with padding and alone, scores stay within 1e-5 of the whole model's."""
    wanted = flat(model)
    assert use_first_token_layer(model, PAIRS, logits(model, PAIRS))
    assert isinstance(model.model.bert.encoder.layer[-1], FirstTokenLayer)
    assert flat(model) == pytest.approx(wanted, abs=1e-5)
    assert [logits(model, [pair])[0][0] for pair in PAIRS] == pytest.approx(wanted, abs=1e-5)


def test_a_model_whose_head_reads_all_tokens_stays_whole(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is built like BERT and pools otherwise is left as it was."""
    pooler = model.model.bert.pooler

    def mean(states: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = pooler.activation(pooler.dense(states.mean(dim=1)))
        return pooled

    assert reads_first_token_only(model)
    monkeypatch.setattr(pooler, "forward", mean)
    wanted = logits(model, PAIRS)
    assert not reads_first_token_only(model)
    assert not use_first_token_layer(model, PAIRS, wanted)
    assert logits(model, PAIRS) == wanted


def test_a_model_of_another_build_has_no_such_layer(model: Model) -> None:
    """Where the last layer isn't BERT's there is nothing to shorten."""
    model.model.bert.encoder.layer[-1] = torch.nn.TransformerEncoderLayer(32, 4)
    assert not use_first_token_layer(model, [], [])

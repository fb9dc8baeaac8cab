"""The last layer for the first token alone: exact, or not at all."""

from pathlib import Path

import pytest

pytest.importorskip("onnxscript", reason="the extra optimize isn't installed")

import torch
from optimize_worlds import some_pairs

from secondpass.optimize.checkpoint import Checkpoint, open_checkpoint
from secondpass.optimize.first_token import FirstTokenLayer, last_layer
from secondpass.optimize.pipeline import shorten
from secondpass.scoring.model_files import ModelFolder

PAIRS = some_pairs(24)


@pytest.fixture
def checkpoint(tiny_torch_folder: Path) -> Checkpoint:
    """Return a tiny BERT, opened."""
    return open_checkpoint(ModelFolder(tiny_torch_folder), None)


def test_a_shortened_model_scores_the_same(checkpoint: Checkpoint) -> None:
    """In batches with padding and alone, scores stay within 1e-5 of the whole model's."""
    wanted = checkpoint.scores(PAIRS)
    assert shorten(checkpoint, PAIRS, wanted)
    assert isinstance(checkpoint.model.bert.encoder.layer[-1], FirstTokenLayer)
    assert checkpoint.scores(PAIRS) == pytest.approx(wanted, abs=1e-5)
    assert [checkpoint.scores([pair])[0] for pair in PAIRS] == pytest.approx(wanted, abs=1e-5)


def test_a_model_whose_head_reads_all_tokens_stays_whole(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is built like BERT and pools otherwise is left as it was."""
    pooler = checkpoint.model.bert.pooler

    def mean(states: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = pooler.activation(pooler.dense(states.mean(dim=1)))
        return pooled

    monkeypatch.setattr(pooler, "forward", mean)
    wanted = checkpoint.scores(PAIRS)
    assert not shorten(checkpoint, PAIRS, wanted)
    assert checkpoint.scores(PAIRS) == wanted


def test_a_model_of_another_build_has_no_such_layer(checkpoint: Checkpoint) -> None:
    """Without an encoder of BERT's layers there is nothing to shorten."""
    encoder = checkpoint.model.bert.encoder
    assert last_layer(torch.nn.Linear(2, 2)) is None
    encoder.layer[-1] = torch.nn.TransformerEncoderLayer(32, 4)
    assert last_layer(checkpoint.model) is None
    assert not shorten(checkpoint, [], [])

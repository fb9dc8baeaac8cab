"""The trainer's settings for the arithmetic at hand."""

import json
from pathlib import Path

import pytest

from secondpass.training.students import open_scorer
from secondpass.training.trainer import use_eager_attention

PAIRS = [("cat", "the quick brown fox"), ("dog", "a lazy dog, and a longer text than the first")]


def test_attention_by_products_gives_the_fused_kernels_scores(tiny_torch_folder: Path) -> None:
    """What is quicker to train is the same model, at padding too."""
    model = open_scorer(str(tiny_torch_folder))
    before = model.predict(PAIRS)
    assert model.model.config._attn_implementation != "eager"
    use_eager_attention(model)
    assert model.model.config._attn_implementation == "eager"
    assert model.predict(PAIRS) == pytest.approx(before, abs=1e-5)


def test_how_attention_was_computed_is_not_saved(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Who opens the student has torch's own choice."""
    model = open_scorer(str(tiny_torch_folder))
    use_eager_attention(model)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    assert "eager" not in json.dumps(json.loads((tmp_path / "config.json").read_text(encoding="utf-8")))
    assert open_scorer(str(tmp_path)).model.config._attn_implementation != "eager"

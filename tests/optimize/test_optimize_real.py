"""A real cross-encoder, exported, quantised and verified."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript", reason="the extra train isn't installed")

from secondpass import load_scorer
from secondpass.optimize import optimize
from secondpass.records import Pair, Score

pytestmark = pytest.mark.slow


def test_a_real_model_keeps_its_order_as_int8(torch_checkpoint: Path, dl19: list[Any], tmp_path: Path) -> None:
    """Twelve layers pass the default bounds, at a quarter of the size, and the model card's examples come out."""
    texts = [Pair(topic["query"], hit["content"][:300]) for topic in dl19[:12] for hit in topic["hits"][:60:15]]
    report = optimize(torch_checkpoint, tmp_path / "int8", calibration=texts[:32], held_out=texts[32:])
    (form,) = report.forms
    assert report.first_token_only
    assert form.bytes < 36_000_000
    assert form.agreement > 0.9
    assert form.batch_effect < 0.02
    scorer = load_scorer(str(tmp_path / "int8"))
    berlin = [
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
        "Berlin is well known for its museums.",
    ]
    outcomes = scorer.score("How many people live in Berlin?", berlin)
    assert [o.value for o in outcomes if isinstance(o, Score)] == pytest.approx([9.219, -4.078], abs=0.5)

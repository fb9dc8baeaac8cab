"""Bundling a model: its int8 form, model card and manifest."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks.models import bundle as bundling
from secondpass import Pair, load_scorer
from secondpass.optimize import Bounds, OptimizeSettings, optimize

pytestmark = pytest.mark.slow


QUERIES = ["how long can a bee live", "what can the quick dog do", "where is the old lake"]
TEXTS = ["a bird can fly", "the brown fox has an egg", "fish", "the old lake is cold and the river is warm"]
PAIRS = [Pair(query, text) for query in QUERIES for text in TEXTS]


def test_a_bundled_folder_opens_and_records_its_files(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder holds a static int8 form, the hashes of its files and weights, and a card with the figures."""
    loose = OptimizeSettings(int8=Bounds(mean_difference=0.5, agreement=0.5, batch_effect=0.02))  # random weights
    monkeypatch.setattr(bundling, "optimize", partial(optimize, settings=loose))
    monkeypatch.setattr(bundling, "pairs", lambda data: (PAIRS, PAIRS))
    bundling.bundle("nano", tiny("torch"), tmp_path / "data", tmp_path / "nano")
    manifest = json.loads((tmp_path / "nano" / "manifest.json").read_text(encoding="utf-8"))
    assert load_scorer(tmp_path / "nano").spec.batch_invariant
    for file in ("model.onnx", "tokenizer.json", "config.json", "tokenizer_config.json"):
        assert manifest["files"][file] == hashlib.sha256((tmp_path / "nano" / file).read_bytes()).hexdigest()
    assert manifest["weights"] == {"model.safetensors": bundling.sha256(tiny("torch") / "model.safetensors")}
    assert f"calibrated on\n{len(PAIRS)} pairs" in (tmp_path / "nano" / "README.md").read_text(encoding="utf-8")


def test_no_question_both_calibrates_and_verifies(assets: Path) -> None:
    """No question is in both sets, and no article that judges the models is in either."""
    calibration, held_out = bundling.pairs(assets / "data")
    assert not {pair.query for pair in calibration} & {pair.query for pair in held_out}
    assert min(len(calibration), len(held_out)) > 300
    titles = json.loads((bundling.HERE / "xquad_articles.json").read_text(encoding="utf-8"))
    articles = json.loads((assets / "data" / "xquad-en" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    judging = {
        text["context"] for article in articles if article["title"] in titles["judge"] for text in article["paragraphs"]
    }
    assert not judging & {pair.text for pair in (*calibration, *held_out)}

"""What the optimiser refuses: forms that lose too much, settings that can't work, checkpoints that can't be used."""

import importlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript", reason="the extra train isn't installed")

import torch
from optimize_worlds import LOOSE, some_pairs

import secondpass.errors
import secondpass.optimize
from secondpass.errors import ConfigurationError, LossTooHigh, MissingExtra, ModelError, ModelNotFound
from secondpass.optimize import Bounds, FormReport, OptimizeSettings, optimize
from secondpass.records import Pair

pytestmark = pytest.mark.slow


PAIRS = some_pairs(20)
STRICT = OptimizeSettings(int8=Bounds(mean_difference=0.0, agreement=1.0, batch_effect=0.02))


@pytest.fixture
def checkpoint(tiny_torch_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of a tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_torch_folder, tmp_path / "checkpoint"))


def test_a_form_that_loses_too_much_is_refused_with_its_figures(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """The error tells what was measured and what was allowed, and no folder is left behind, not even a hidden one."""
    with pytest.raises(LossTooHigh, match=r"mean difference .* at most 0\.00% is allowed.*Measured: int8") as refusal:
        optimize(tiny_torch_folder, tmp_path / "out", calibration=PAIRS, settings=STRICT)
    assert isinstance(refusal.value.figures, FormReport)
    assert refusal.value.figures.mean_difference > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_never_written_to(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """What lies at ``out`` already stays as it is."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="a new or an empty folder"):
        optimize(tiny_torch_folder, tmp_path, calibration=PAIRS)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "int8 needs calibration pairs"),
        ({"forms": ("float32",)}, "needs held_out pairs"),
        ({"forms": ("int4",), "calibration": PAIRS}, "forms must be float32 or int8, got int4"),
        ({"forms": (), "calibration": PAIRS}, "got none"),
    ],
    ids=["no pairs", "nothing to verify on", "unknown form", "no form"],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    """Mistakes in the call show before any model is opened."""
    with pytest.raises(ConfigurationError, match=message):
        optimize("nowhere", tmp_path / "out", **how)


def test_a_balance_outside_its_range_is_refused() -> None:
    """The balance is a share."""
    with pytest.raises(ConfigurationError, match=r"balance must be from 0 to 1, got 1\.5"):
        OptimizeSettings(balance=1.5)


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A path without a folder is no model."""
    with pytest.raises(ModelNotFound):
        optimize(tmp_path / "nowhere", tmp_path / "out", calibration=PAIRS)


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lose_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _lose_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "transformers can't open"),
        (_pickle, "only pickled weights"),
        (_lose_tokenizer, "must have a tokenizer, and has none"),
        (_lose_head, r"has no weights for classifier\.bias, classifier\.weight"),
    ],
)
def test_a_damaged_checkpoint_is_an_error(checkpoint: Path, damage: Callable[[Path], None], message: str) -> None:
    """Cut-off weights, pickles, no tokenizer, no trained head: each says what is wrong, and nothing is left behind."""
    damage(checkpoint)
    with pytest.raises(ModelError, match=message):
        optimize(checkpoint, checkpoint.parent / "out", calibration=PAIRS)
    assert [file.name for file in checkpoint.parent.iterdir()] == ["checkpoint"]


def test_an_architecture_that_cannot_be_exported_says_so(
    tiny_torch_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch can't export is a ModelError that names the architecture."""

    def refuse(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("an operator is missing")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ModelError, match="BertForSequenceClassification can't be exported to ONNX: an operator"):
        optimize(tiny_torch_folder, tmp_path / "out", calibration=PAIRS)


@pytest.mark.parametrize("package", ["torch", "sentence-transformers", "onnx", "onnxscript"])
def test_a_missing_package_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one of its packages the error says which extra installs it."""
    name, find = package.replace("-", "_"), importlib.util.find_spec
    monkeypatch.setattr(secondpass.errors, "find_spec", lambda wanted: None if wanted == name else find(wanted))
    with pytest.raises(MissingExtra, match=rf'needs {package}, .*"secondpass\[train\]"'):
        importlib.reload(secondpass.optimize)


def test_calibration_pairs_of_one_length_are_refused(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Scales that are fitted to one length may not hold for others."""
    alike = [Pair(pair.query, "red fox") for pair in PAIRS]
    with pytest.raises(ConfigurationError, match=r"must have different lengths, .* all have \d+ tokens"):
        optimize(tiny_torch_folder, tmp_path / "out", calibration=alike, held_out=PAIRS)


def test_what_an_interrupted_run_left_does_not_matter(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """A run that was killed leaves a hidden folder beside ``out`` at most, and the next one starts anew."""
    (tmp_path / ".out-abc" / "staging").mkdir(parents=True)
    optimize(tiny_torch_folder, tmp_path / "out", calibration=PAIRS, settings=LOOSE)
    assert (tmp_path / "out" / "model.onnx").is_file()

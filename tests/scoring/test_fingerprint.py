"""The fingerprint of a scorer: everything that decides a score, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondpass import LoadOptions, load_scorer

Tiny = Callable[..., Path]


def fingerprint(folder: Path, options: LoadOptions | None = None) -> str:
    return load_scorer(str(folder), options=options or LoadOptions()).spec.fingerprint


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_folder_does_not_count(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """A copy of a model in another folder has the same fingerprint."""
    copy = shutil.copytree(tiny(engine), tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(tiny(engine))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_tokenizer_counts(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """The same weights with another vocabulary give other scores, and have another fingerprint."""
    folder = shutil.copytree(tiny(engine), tmp_path / "other")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert fingerprint(folder) != fingerprint(tiny(engine))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_positive_label_counts(tiny: Tiny, engine: str) -> None:
    """Models with other positive labels have other fingerprints."""
    folder = tiny(engine, num_labels=2)
    assert fingerprint(folder, LoadOptions(label=0)) != fingerprint(folder, LoadOptions(label=1))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_batch_limits_do_not_count(tiny: Tiny, engine: str) -> None:
    """Batch limits don't change the fingerprint."""
    assert fingerprint(tiny(engine), LoadOptions(batch_size=1)) == fingerprint(tiny(engine))


def test_external_weights_count(tiny: Tiny, tmp_path: Path) -> None:
    """The weights that an ONNX file keeps in a second file are part of the fingerprint."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    prints = []
    for name, factor in (("one", 1.0), ("other", 2.0)):
        folder = shutil.copytree(tiny("onnx"), tmp_path / name)
        model = onnx.load(folder / "model.onnx")
        linear = next(item for item in model.graph.initializer if item.name == "linear")
        linear.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(linear) * factor, "linear"))
        onnx.save(
            model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=64
        )
        prints.append(fingerprint(folder))
    assert prints[0] != prints[1]

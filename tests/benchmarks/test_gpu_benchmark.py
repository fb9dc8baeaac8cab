"""The benchmark of a GPU, in its dry form: on the CPU, with tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]
UNNEEDED = ("onnxruntime", "sentencex", "langchain_core", "llama_index", "chromadb", "matplotlib", "rich", "typer")


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the benchmark where only its own libraries can be imported, and return the folder that it wrote."""
    pytest.importorskip("sentence_transformers", reason="the extra torch isn't installed")
    folder = tmp_path_factory.mktemp("gpu")
    missing = folder / "missing"
    for package in UNNEEDED:
        (missing / package).mkdir(parents=True)
        (missing / package / "__init__.py").write_text("raise ImportError('not needed on a GPU')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(missing), str(ROOT / "src")])}
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry", "--out", str(folder)]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def test_both_sides_are_measured_and_give_the_same_scores(dry_run: Path) -> None:
    """The JSON has both sides in both dtypes for each number of candidates, and their scores agree."""
    result = json.loads((dry_run / "gpu.json").read_text(encoding="utf-8"))
    cells = result["cells"]
    found = {(c["side"], c["dtype"], c["candidates"], c["lengths"]) for c in cells}
    assert len(found) == len(cells) == 2 * 2 * 2 * 2
    assert all(c["difference"] < (1e-4 if c["dtype"] == "float32" else 0.1) for c in cells)
    assert all(0 < c["p50_ms"] <= c["p95_ms"] for c in cells)
    assert result["placement"].endswith("; packed")


def test_the_page_says_that_it_was_a_dry_run(dry_run: Path) -> None:
    """The page has the targets, a chart, a row for each measurement, and says that the figures mean nothing."""
    page = (dry_run / "gpu.md").read_text(encoding="utf-8")
    assert "A dry run on the CPU" in page
    assert page.count("not measured") == 5
    assert "████" in page
    assert page.count("| tiny |") == 16

"""Every notebook runs from top to bottom, offline, and shows the outputs of such a run."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from shown_output import same_output

pytestmark = pytest.mark.slow


FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def outputs(notebook: Any) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each code cell's number, its plain-text output as one string, and the kinds of its outputs."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            yield number, "".join(texts), [output.get("name", output.output_type) for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # the kernel's own libraries warn about themselves
def test_a_fresh_run_gives_the_kept_outputs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as Jupyter does, in its folder, no cell fails or warns, and each prints what the notebook shows."""
    kept = list(outputs(nbformat.read(path, as_version=4)))
    notebook = nbformat.read(path, as_version=4)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    for (number, shown, _), (_, fresh, kinds) in zip(kept, outputs(notebook), strict=True):
        assert not {"stderr", "error"} & set(kinds), f"cell {number}: {fresh}"
        assert same_output(shown, fresh), f"cell {number} shows:\n{shown}\nand printed:\n{fresh}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_kept_outputs_are_complete_and_clean(path: Path) -> None:
    """What one sees without running it has outputs, no error, no warning, and no folder of the machine that made it."""
    shown = [(text, kinds) for _, text, kinds in outputs(nbformat.read(path, as_version=4)) if kinds]
    assert len(shown) >= 5
    assert not any({"stderr", "error"} & set(kinds) for _, kinds in shown)
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    assert sys.prefix not in text

"""Every notebook runs from top to bottom, and was saved with its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # the kernel's own libraries warn about themselves
def test_notebook_runs(path: Path) -> None:
    """The notebook runs, with the weights that the demo fetches, without an error in any cell."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert all(cell.outputs is not None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_its_outputs_and_no_paths(path: Path) -> None:
    """What a reader sees without running it is complete, and names no folder of the machine that made it."""
    notebook = nbformat.read(path, as_version=4)
    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    text = path.read_text(encoding="utf-8")
    assert len(shown) >= 5
    assert str(Path.home()) not in text

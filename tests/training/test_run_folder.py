"""The folder of a run: what may be in it, room for it, and where a killed run goes on."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from secondpass.errors import ConfigurationError, ModelError
from secondpass.training.run_folder import RunFolder
from secondpass.training.students import files_hash

PLAN = {"settings": {"seed": 1}, "layers": (1, 2)}


def leave_checkpoint(folder: RunFolder, step: int, *, complete: bool = True) -> Path:
    checkpoint = folder.checkpoints / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"weight": np.zeros(8, dtype=np.float32)}, checkpoint / "model.safetensors")
    if complete:
        (checkpoint / "trainer_state.json").write_text("{}")
    return checkpoint


def test_a_new_folder_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    """It is made with its parents, and the run starts at the first step."""
    assert RunFolder(tmp_path / "a" / "b").begin(PLAN, needed=1) is None


def test_a_killed_run_goes_on_from_its_newest_complete_checkpoint(tmp_path: Path) -> None:
    """Numbers count, not names; a checkpoint that was cut off while it was written is passed over."""
    folder = RunFolder(tmp_path)
    folder.begin(PLAN, needed=1)
    leave_checkpoint(folder, 900)
    newest = leave_checkpoint(folder, 1000)
    leave_checkpoint(folder, 1100, complete=False)
    assert folder.begin(PLAN, needed=1) == newest


@pytest.mark.parametrize("damage", ["weights", "state", "nothing left"])
def test_a_damaged_checkpoint_is_named_before_the_first_step(tmp_path: Path, damage: str) -> None:
    """The error says which one it is, and that the one before is still good."""
    folder = RunFolder(tmp_path)
    folder.begin(PLAN, needed=1)
    checkpoint = leave_checkpoint(folder, 10)
    if damage == "weights":
        (checkpoint / "model.safetensors").write_bytes(b"\0" * 100)
    elif damage == "state":
        (checkpoint / "trainer_state.json").write_text("{")
    else:
        (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"checkpoint-10 is damaged; remove it to resume from the one before"):
        folder.begin(PLAN, needed=1)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    """Other settings never go on from these checkpoints."""
    RunFolder(tmp_path).begin(PLAN, needed=1)
    with pytest.raises(ConfigurationError, match="other data or settings"):
        RunFolder(tmp_path).begin({**PLAN, "settings": {"seed": 2}}, needed=1)


def test_a_finished_run_is_not_written_over(tmp_path: Path) -> None:
    """Its manifest marks it."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="finished run"):
        RunFolder(tmp_path).begin(PLAN, needed=1)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    """Nobody's files end up among checkpoints."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="must be empty or new"):
        RunFolder(tmp_path).begin(PLAN, needed=1)


def test_a_full_disk_is_known_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how much is needed and how much there is."""
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 5 * 2**20))
    with pytest.raises(ConfigurationError, match=r"about 101 MiB .* and 5 MiB are free"):
        RunFolder(tmp_path).begin(PLAN, needed=100 * 2**20)


def test_a_finished_run_leaves_no_checkpoints(tmp_path: Path) -> None:
    """The student is there; what led to it is gone."""
    folder = RunFolder(tmp_path)
    folder.begin(PLAN, needed=1)
    leave_checkpoint(folder, 10)
    folder.finish()
    assert list(tmp_path.iterdir()) == []


def test_files_are_hashed_under_their_relative_names(tmp_path: Path) -> None:
    """The manifest names no folder of the machine that made it."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph")
    (tmp_path / "b.txt").write_bytes(b"other")
    assert files_hash(tmp_path, "*/*.onnx") == {
        "onnx/model.onnx": "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d"
    }

"""The folder of a run: what may be in it, room for it, and where a killed run goes on."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from secondpass.errors import ConfigurationError
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


@pytest.mark.parametrize("damage", ["weights", "state", "nothing left", "optimizer"])
def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on from the one before, and the log says which one was damaged and where it is now."""
    folder = RunFolder(tmp_path)
    folder.begin(PLAN, needed=1)
    before = leave_checkpoint(folder, 5)
    checkpoint = leave_checkpoint(folder, 10)
    if damage == "weights":
        (checkpoint / "model.safetensors").write_bytes(b"\0" * 100)
    elif damage == "state":
        (checkpoint / "trainer_state.json").write_text("{")
    elif damage == "optimizer":
        torch.save({"step": torch.zeros(1000)}, checkpoint / "optimizer.pt")
        content = bytearray((checkpoint / "optimizer.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (checkpoint / "optimizer.pt").write_bytes(content)
    else:
        (checkpoint / "model.safetensors").unlink()
    assert folder.begin(PLAN, needed=1) == before
    assert "checkpoint-10 is damaged" in caplog.text
    assert (folder.checkpoints / "damaged-checkpoint-10").is_dir()
    assert folder.begin(PLAN, needed=1) == before


def test_a_run_without_a_good_checkpoint_begins_anew(tmp_path: Path) -> None:
    """One that is damaged doesn't end the run."""
    folder = RunFolder(tmp_path)
    folder.begin(PLAN, needed=1)
    (leave_checkpoint(folder, 10) / "model.safetensors").write_bytes(b"")
    assert folder.begin(PLAN, needed=1) is None


def test_a_best_checkpoint_that_was_damaged_is_no_longer_the_best(tmp_path: Path) -> None:
    """The trainer couldn't open it at the end; the evaluations that follow choose among what is there."""
    folder = RunFolder(tmp_path)
    folder.begin(PLAN, needed=1)
    best, last = leave_checkpoint(folder, 10), leave_checkpoint(folder, 20)
    state = {"best_model_checkpoint": str(best), "best_metric": 0.9, "global_step": 20}
    (last / "trainer_state.json").write_text(json.dumps(state))
    assert folder.begin(PLAN, needed=1) == last
    assert json.loads((last / "trainer_state.json").read_text()) == state
    (best / "model.safetensors").write_bytes(b"")
    assert folder.begin(PLAN, needed=1) == last
    left = json.loads((last / "trainer_state.json").read_text())
    assert left["best_model_checkpoint"] is left["best_metric"] is None
    assert left["global_step"] == 20


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

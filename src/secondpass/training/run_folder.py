"""The folder of a run: its plan, its checkpoints, and the checkpoint to resume from."""

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from sentence_transformers import CrossEncoder as Model

from secondpass.errors import ConfigurationError

MANIFEST = "manifest.json"
_BYTES_PER_WEIGHT = 4
_CHECKPOINTS = 3  # the best, the last, and the one that is being written
_logger = logging.getLogger("secondpass")
_STATE = "trainer_state.json"  # the trainer writes it last: a checkpoint without it is incomplete


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run's checkpoints and, at its end, of the student."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints until the run is finished."""
        return self.path / "checkpoints"

    def begin(self, plan: Mapping[str, Any], needed: int) -> Path | None:
        """Create the folder for a run, and return the checkpoint to resume from, if there is one.

        :param plan: What decides the student's weights; a folder that was begun with another plan is refused.
        :param needed: The bytes that checkpoints and the student will take.
        :raises ConfigurationError: If the folder holds a finished run, another run or something else, or the disk is
            too full.
        """
        plan = json.loads(json.dumps(plan))
        file = self.checkpoints / "run.json"
        if (self.path / MANIFEST).exists():
            raise ConfigurationError(f"{self.path} holds a finished run: take another folder, or move it away")
        if file.exists():
            if json.loads(file.read_text(encoding="utf-8")) != plan:
                raise ConfigurationError(
                    f"{self.path} holds a run with other data or settings (see {file}): give the same ones to resume "
                    "it, or take another folder"
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise ConfigurationError(f"{self.path} must be empty or new, and holds files that aren't a run's")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise ConfigurationError(
                f"the run needs about {needed // 2**20 + 1} MiB for checkpoints and the student in {self.path}, and "
                f"{free // 2**20} MiB are free: free some space, or take another folder"
            )
        file.write_text(json.dumps(plan, indent=1), encoding="utf-8")
        return self._last_checkpoint()

    def finish(self) -> None:
        """Delete the checkpoints, once the student is written."""
        shutil.rmtree(self.checkpoints)

    def _last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that is complete and undamaged; damaged ones are set aside."""
        complete = [path for path in self.checkpoints.glob("checkpoint-*") if (path / _STATE).exists()]
        undamaged = sorted((path for path in complete if _is_readable(path)), key=_step, reverse=True)
        if not undamaged:
            return None
        _forget_missing_best(undamaged[0] / _STATE)
        return undamaged[0]


def needed_bytes(model: Model) -> int:
    """Return the most disk space that a run takes: the model, and checkpoints with two moments for each weight."""
    weights = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    every = sum(count for count, _ in weights)
    trained = sum(count for count, requires_grad in weights if requires_grad)
    needed: int = _BYTES_PER_WEIGHT * (every + _CHECKPOINTS * (every + 2 * trained))
    return needed


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_readable(checkpoint: Path) -> bool:
    """Return whether a checkpoint can be read; one that can't gets another name, under which nothing looks for it."""
    try:
        json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        _read_weights(checkpoint)
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
        _logger.warning("the checkpoint %s is damaged (%s): set aside as %s", checkpoint.name, error, aside.name)
        return False
    return True


def _read_weights(checkpoint: Path) -> None:
    weights = sorted(checkpoint.rglob("*.safetensors"))
    for file in weights:
        with safe_open(file, "np") as content:
            content.keys()
    if not weights:
        raise FileNotFoundError("it has no weights")
    for file in checkpoint.glob("*.pt"):  # torch writes ZIP archives, which have checksums
        with zipfile.ZipFile(file) as archive:
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"{broken} in {file.name} has another checksum")


def _forget_missing_best(file: Path) -> None:
    """Remove the best checkpoint from a trainer's state where it was set aside: the next evaluation is the best then.

    The trainer would keep the last weights instead of the best ones, with nothing but a line in its log.
    """
    state = json.loads(file.read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    if best and not Path(best).exists():
        state |= {"best_model_checkpoint": None, "best_metric": None, "best_global_step": None}
        file.write_text(json.dumps(state, indent=2), encoding="utf-8")

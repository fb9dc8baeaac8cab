"""The folder of a run: its plan, its checkpoints, and the checkpoint to resume from."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from secondpass.errors import ConfigurationError, ModelError

MANIFEST = "manifest.json"
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
        :raises ModelError: If the last checkpoint is damaged.
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
        """Return the newest complete checkpoint.

        :raises ModelError: If it can't be read.
        """
        complete = [path for path in self.checkpoints.glob("checkpoint-*") if (path / _STATE).exists()]
        if not complete:
            return None
        newest = max(complete, key=lambda path: int(path.name.rpartition("-")[2]))
        try:
            json.loads((newest / _STATE).read_text(encoding="utf-8"))
            weights = sorted(newest.rglob("*.safetensors"))
            for file in weights:
                with safe_open(file, "np") as content:
                    content.keys()
            if not weights:
                raise FileNotFoundError("it has no weights")
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"the checkpoint {newest} is damaged; remove it to resume from the one before: {error}"
            ) from error
        return newest

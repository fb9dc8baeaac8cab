"""The folder of a run: what it holds already, whether it has room, and where a killed run goes on."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from secondpass.errors import ConfigurationError, ModelError

MANIFEST = "manifest.json"
_CHECKPOINTS = "checkpoints"
_PLAN = "run.json"
_STATE = "trainer_state.json"  # the trainer writes it last: a checkpoint without it was cut off by a kill


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run leaves its checkpoints and, at its end, the student."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are until the run is finished."""
        return self.path / _CHECKPOINTS

    def begin(self, plan: Mapping[str, Any], needed: int) -> Path | None:
        """Make the folder ready for a run, and return the checkpoint to go on from, if there is one.

        :param plan: What decides the run; a folder that was begun with another plan is refused.
        :param needed: The bytes that checkpoints and the student will take.
        :raises ConfigurationError: If the folder holds a finished run, another run or something else, or the disk has
            no room.
        :raises ModelError: If the last checkpoint is damaged.
        """
        self._check_content(plan)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise ConfigurationError(
                f"the run needs about {needed // 2**20 + 1} MiB for checkpoints and the student in {self.path}, and "
                f"{free // 2**20} MiB are free: make room, or take another folder"
            )
        (self.checkpoints / _PLAN).write_text(json.dumps(_jsonable(plan), indent=1), encoding="utf-8")
        return self._last_checkpoint()

    def hashes(self, *patterns: str) -> dict[str, str]:
        """Return the SHA-256 of the files that match and stay when the run is finished."""
        return {name: digest for name, digest in files_hash(self.path, *patterns).items() if not _passing(name)}

    def finish(self) -> None:
        """Drop the checkpoints: the student is there."""
        shutil.rmtree(self.checkpoints)

    def _check_content(self, plan: Mapping[str, Any]) -> None:
        if (self.path / MANIFEST).exists():
            raise ConfigurationError(f"{self.path} holds a finished run: take another folder, or move it away")
        begun = self.checkpoints / _PLAN
        if begun.exists():
            if json.loads(begun.read_text(encoding="utf-8")) != _jsonable(plan):
                raise ConfigurationError(
                    f"{self.path} holds a run with other data or settings ({begun} tells which): give the same ones "
                    "to go on with it, or take another folder"
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise ConfigurationError(f"{self.path} must be empty or new, and holds something that no run left there")

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
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"{_damaged(newest)}: {error}") from error
        if not weights:
            raise ModelError(f"{_damaged(newest)}: it has no weights")
        return newest


def files_hash(folder: Path, *patterns: str) -> dict[str, str]:
    """Return the SHA-256 of the files that match, by their names relative to the folder."""
    files = sorted(file for pattern in patterns for file in folder.rglob(pattern))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _passing(name: str) -> bool:
    return Path(name).parts[0] == _CHECKPOINTS


def _damaged(checkpoint: Path) -> str:
    return f"the checkpoint {checkpoint} is damaged; remove it to go on from the one before"


def _jsonable(plan: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(plan))

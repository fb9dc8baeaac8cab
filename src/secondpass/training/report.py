"""The results of a distillation: the student's files, its int8 form, its model card and its manifest."""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder as Model
from transformers import TrainerState

from secondpass.errors import ConfigurationError
from secondpass.optimize import optimize
from secondpass.scores import Pair
from secondpass.training.data import Group, TrainingData
from secondpass.training.run_folder import MANIFEST, RunFolder
from secondpass.training.settings import DistillSettings
from secondpass.training.students import files_hash
from secondpass.training.trainer import processes
from secondpass.training.validation import StudentEvaluator

_PACKAGES = ("accelerate", "datasets", "onnxruntime", "secondpass", "sentence-transformers", "torch", "transformers")
_SAMPLE = 512  # pairs that calibrate the int8 form, and as many that verify it
_EXPORT = "onnx"
_CARD, _INT8 = (Path(__file__).parent / "card.md").read_text(encoding="utf-8").split("=== int8 ===\n")


@dataclass(frozen=True, slots=True)
class DistillReport:
    """The result of a distillation.

    :param folder: The student's folder; ``load_scorer`` opens it.
    :param manifest: The content of its ``manifest.json``.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def measures(self) -> Mapping[str, float]:
        """The student's measures on the validation data."""
        measures: Mapping[str, float] = self.manifest["measures"]["student"]
        return measures

    @property
    def teacher_measures(self) -> Mapping[str, float]:
        """The teacher's own measures on the validation data; its agreement with itself is 1."""
        measures: Mapping[str, float] = self.manifest["measures"]["teacher"]
        return measures

    @property
    def refused(self) -> str | None:
        """Why there is no int8 form, with its figures, or None where it was accepted."""
        int8 = self.manifest["int8"]
        return None if int8["accepted"] else str(int8["reason"])


def write_student(
    model: Model,
    state: TrainerState,
    evaluator: StudentEvaluator,
    data: TrainingData,
    settings: DistillSettings,
    folder: RunFolder,
    manifest: dict[str, Any],
) -> None:
    """Write the student, its int8 form, its card and, last of all, its manifest; then delete the checkpoints.

    :param model: The student with the best checkpoint's weights.
    :param state: The trainer's record of the run.
    :param evaluator: The evaluator that chose the checkpoint.
    :param data: The data, of which a sample calibrates and verifies the int8 form.
    :param settings: The settings.
    :param folder: The run's folder.
    :param manifest: The manifest's entries on teacher, base, student, settings and data; changed in place.
    """
    path = folder.path
    model.config.output_hidden_states = False
    model.save_pretrained(str(path), create_model_card=False, safe_serialization=True)
    best = state.best_model_checkpoint
    manifest["training"] |= {
        "steps": state.global_step,
        "best_step": int(best.rpartition("-")[2]) if best else state.global_step,
        "epochs": state.epoch,
        "processes": processes().num_processes,
        "history": [entry for entry in state.log_history if any(key.startswith("eval_") for key in entry)],
    }
    manifest["measures"] = {"student": evaluator(model), "teacher": evaluator.teacher()}
    manifest["int8"] = _export(data, settings, path)
    manifest["packages"] = {name: _version(name) for name in _PACKAGES}
    manifest["files"] = files_hash(path, "*.safetensors", "tokenizer.json", "onnx/*.onnx", "onnx/tokenizer.json")
    (path / "README.md").write_text(card(manifest), encoding="utf-8")
    (path / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    folder.finish()


def card(manifest: Mapping[str, Any]) -> str:
    """Return the model card, in Markdown with the hub's front matter."""
    int8, measures, notes = manifest["int8"], manifest["measures"], manifest["about"]["notes"].strip()
    rows = [f"| {key} | {measures['teacher'][key]:.4f} | {value:.4f} |" for key, value in measures["student"].items()]
    refusal = None if int8["accepted"] else f"None: {int8['reason']}"
    return _CARD.format(
        **manifest,
        note=f"\n{notes}\n" if notes else "",
        rows="\n".join(rows),
        export=refusal or _INT8.strip().format(**int8, megabytes=int8["bytes"] / 1e6),
    )


def _export(data: TrainingData, settings: DistillSettings, path: Path) -> dict[str, Any]:
    """Export the int8 form, and return its figures, or why it was refused: the student is kept without it."""
    out = path / _EXPORT
    if out.exists():  # from a run that was killed before its manifest
        shutil.rmtree(out)
    fit, check = (_sample(groups, settings.seed) for groups in (data.train, data.validation))
    try:
        (form,) = optimize(path, out, calibration=fit, held_out=check, settings=settings.export).forms
    except ConfigurationError as refusal:  # it loses too much, can't be exported, or there are too few pairs
        return {"accepted": False, "reason": str(refusal)}
    figures = asdict(form)
    del figures["folder"]
    return {"accepted": True, **figures, "calibrated_on": len(fit), "verified_on": len(check)}


def _sample(groups: Sequence[Group], seed: int) -> list[Pair]:
    """Return whole groups, drawn by the seed, until there are enough pairs: an order is checked within a question."""
    pairs: list[Pair] = []
    for group in random.Random(seed).sample(list(groups), len(groups)):
        if len(pairs) < _SAMPLE:
            pairs += group.pairs
    return pairs


def _version(package: str) -> str | None:
    """Return a package's version, or None where its distribution has another name (onnxruntime-gpu)."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None

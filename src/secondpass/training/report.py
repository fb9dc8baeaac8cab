"""The results of training: the model's files, its int8 form, its model card and its manifest."""

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
from secondpass.training.settings import TrainSettings
from secondpass.training.students import files_hash
from secondpass.training.trainer import processes

_PACKAGES = ("accelerate", "datasets", "onnxruntime", "secondpass", "sentence-transformers", "torch", "transformers")
_SAMPLE = 512  # pairs that calibrate the int8 form, and as many that verify it
_EXPORT = "onnx"
_DISTILLED, _FINETUNED, _INT8 = (
    part.strip() + "\n" for part in (Path(__file__).parent / "card.md").read_text("utf-8").split("=== next ===\n")
)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The result of a training run.

    :param folder: The model's folder; ``load_scorer`` opens it.
    :param manifest: The content of its ``manifest.json``.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def refused(self) -> str | None:
        """Why there is no int8 form, with its figures, or None where it was accepted."""
        int8 = self.manifest["int8"]
        return None if int8["accepted"] else str(int8["reason"])

    def _measures(self, of: str) -> Mapping[str, float]:
        measures: Mapping[str, float] = self.manifest["measures"][of]
        return measures


class DistillReport(TrainingReport):
    """The result of a distillation."""

    @property
    def measures(self) -> Mapping[str, float]:
        """The student's measures on the validation data."""
        return self._measures("student")

    @property
    def teacher_measures(self) -> Mapping[str, float]:
        """The teacher's own measures on the validation data; its agreement with itself is 1."""
        return self._measures("teacher")


class FinetuneReport(TrainingReport):
    """The result of a fine-tuning."""

    @property
    def measures(self) -> Mapping[str, float]:
        """The fine-tuned model's measures on the validation data."""
        return self._measures("after")

    @property
    def measures_before(self) -> Mapping[str, float]:
        """The measures of the model that it started from."""
        return self._measures("before")

    @property
    def improved(self) -> bool:
        """Whether the measure that chose the checkpoint is better than before."""
        metric = self.manifest["metric"]
        return self.measures[metric] > self.measures_before[metric]

    def __str__(self) -> str:
        """Return what was learned from, each measure before and after, and what became of the int8 form."""
        data, truncated = self.manifest["data"], self.manifest["truncated"]
        lines = [
            f"{data['train']['pairs']} pairs of {data['train']['groups']} questions, loss {self.manifest['loss']}",
            f"validated on {data['validation']['groups']} other questions",
            *(f"{name} {self.measures_before[name]:.4f} -> {value:.4f}" for name, value in self.measures.items()),
        ]
        if truncated["pairs"]:
            lines.append(
                f"truncated: {truncated['pairs']} training pairs ({truncated['share']:.1%}) are longer than "
                f"{truncated['max_length']} tokens"
            )
        if not self.improved:
            lines.append(f"no better than before on {self.manifest['metric']}: keep the model that you have")
        return "\n".join([*lines, self.refused or f"int8: {self.folder.name}/{_EXPORT}"])


def write_model(
    model: Model,
    state: TrainerState,
    data: TrainingData,
    settings: TrainSettings,
    folder: RunFolder,
    manifest: dict[str, Any],
) -> None:
    """Write the model, its int8 form, its card and, last of all, its manifest; then delete the checkpoints.

    :param model: The model with the best checkpoint's weights.
    :param state: The trainer's record of the run.
    :param data: The data, of which a sample calibrates and verifies the int8 form.
    :param settings: The settings.
    :param folder: The run's folder.
    :param manifest: The manifest's entries on base, settings, data and measures; changed in place.
    """
    path = folder.path
    model.save_pretrained(str(path), create_model_card=False, safe_serialization=True)
    best = state.best_model_checkpoint
    manifest["about"]["name"] = manifest["about"]["name"] or path.resolve().name
    manifest["training"] |= {
        "steps": state.global_step,
        "best_step": int(best.rpartition("-")[2]) if best else state.global_step,
        "epochs": state.epoch,
        "processes": processes().num_processes,
        "history": [entry for entry in state.log_history if any(key.startswith("eval_") for key in entry)],
    }
    manifest["int8"] = _export(data, settings, path)
    manifest["packages"] = {name: _version(name) for name in _PACKAGES}
    manifest["files"] = files_hash(path, "*.safetensors", "tokenizer.json", "onnx/*.onnx", "onnx/tokenizer.json")
    (path / "README.md").write_text(card(manifest), encoding="utf-8")
    (path / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    folder.finish()


def card(manifest: Mapping[str, Any]) -> str:
    """Return the model card, in Markdown with the hub's front matter."""
    int8, notes = manifest["int8"], manifest["about"]["notes"].strip()
    first, second = (
        manifest["measures"].values()
        if "teacher" not in manifest
        else (manifest["measures"]["teacher"], manifest["measures"]["student"])
    )
    rows = [f"| {key} | {first[key]:.4f} | {value:.4f} |" for key, value in second.items()]
    refusal = None if int8["accepted"] else f"None: {int8['reason']}"
    text = (_DISTILLED if "teacher" in manifest else _FINETUNED).format(
        **manifest, note=f"\n{notes}\n" if notes else "", rows="\n".join(rows)
    )
    return f"{text}\n## int8\n\n{refusal or _INT8.format(**int8, megabytes=int8['bytes'] / 1e6)}\n"


def _export(data: TrainingData, settings: TrainSettings, path: Path) -> dict[str, Any]:
    """Export the int8 form, and return its figures, or why it was refused: the model is kept without it."""
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

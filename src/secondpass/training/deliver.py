"""From trained weights to the folder that ``load_scorer`` opens: weights, int8 form, card and manifest."""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any

from sentence_transformers import CrossEncoder as Model
from transformers import TrainerState

from secondpass.errors import ConfigurationError
from secondpass.optimize import optimize
from secondpass.scores import Pair
from secondpass.training.groups import Group
from secondpass.training.processes import processes
from secondpass.training.report import DistillReport, card
from secondpass.training.run_folder import MANIFEST, RunFolder
from secondpass.training.settings import About, DistillSettings
from secondpass.training.trainer import arithmetic
from secondpass.training.validation import Validation, measure, score_pairs

_PACKAGES = ("accelerate", "datasets", "onnxruntime", "secondpass", "sentence-transformers", "torch", "transformers")
_SAMPLE = 512  # pairs that calibrate the int8 form, and as many that judge it
_EXPORT = "onnx"


@dataclass(frozen=True, slots=True)
class Finished:
    """What the trainer left.

    :param model: The student with the best checkpoint's weights.
    :param state: What the trainer knows of the run.
    :param validation: What judged it.
    :param settings: How it was taught.
    :param seconds: How long that took, since it was last started.
    """

    model: Model
    state: TrainerState
    validation: Validation
    settings: DistillSettings
    seconds: float


def deliver(
    finished: Finished, train: Sequence[Group], folder: RunFolder, plan: Mapping[str, Any], about: About
) -> None:
    """Write the student, its int8 form, its card and, last of all, its manifest; then drop the checkpoints.

    :param train: The groups that it learned from, of which some calibrate the int8 form.
    :param plan: What decided the run.
    """
    model = finished.model
    model.config.output_hidden_states = False
    model.save_pretrained(str(folder.path), create_model_card=False, safe_serialization=True)
    manifest = {
        **plan,
        "about": {**asdict(about), "name": about.name or folder.path.resolve().name},
        "training": _training(finished),
        "measures": _measures(finished),
        "int8": _export(finished, train, folder),
        "packages": {name: _version(name) for name in _PACKAGES},
        "files": folder.hashes("*.safetensors", "*.onnx", "tokenizer.json"),
    }
    (folder.path / "README.md").write_text(card(manifest), encoding="utf-8")
    (folder.path / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    folder.finish()


def _export(finished: Finished, train: Sequence[Group], folder: RunFolder) -> dict[str, Any]:
    """Make the int8 form, and return its figures; hours of training aren't thrown away where it loses too much."""
    seed, settings = finished.settings.seed, finished.settings.export
    out = folder.path / _EXPORT
    if out.exists():  # left by a run that was killed before its manifest
        shutil.rmtree(out)
    fit, check = _sample(train, seed), _sample(finished.validation.groups, seed)
    try:
        (form,) = optimize(folder.path, out, calibration=fit, held_out=check, settings=settings).forms
    except ConfigurationError as refusal:  # it loses too much, can't be exported, or there are too few pairs
        return {"accepted": False, "reason": str(refusal)}
    figures = asdict(form)
    del figures["folder"]
    return {"accepted": True, **figures, "calibrated_on": len(fit), "verified_on": len(check)}


def _version(package: str) -> str | None:
    """Return a package's version, or None where it goes by another name (onnxruntime-gpu) or isn't installed as one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_report(folder: RunFolder) -> DistillReport:
    """Return the report of a finished run."""
    return DistillReport(folder.path, json.loads((folder.path / MANIFEST).read_text(encoding="utf-8")))


def _sample(groups: Sequence[Group], seed: int) -> list[Pair]:
    """Return whole groups, drawn by the seed, until there are enough pairs: an order is checked within a question."""
    drawn = random.Random(seed).sample(list(groups), len(groups))
    pairs: list[Pair] = []
    for group in drawn:
        pairs += group.pairs
        if len(pairs) >= _SAMPLE:
            break
    return pairs


def _training(finished: Finished) -> dict[str, Any]:
    state = finished.state
    best = state.best_model_checkpoint
    return {
        "steps": state.global_step,
        "best_step": int(best.rpartition("-")[2]) if best else state.global_step,
        "epochs": state.epoch,
        "processes": processes().num_processes,
        "seconds": round(finished.seconds),
        "history": [entry for entry in state.log_history if any(key.startswith("eval_") for key in entry)],
    }


def _measures(finished: Finished) -> dict[str, dict[str, float]]:
    """Measure the student as it was saved, and the teacher, on the validation data."""
    groups, targets = finished.validation.groups, finished.validation.targets
    pairs = list(chain.from_iterable(group.pairs for group in groups))
    dtype = arithmetic(finished.settings.precision)
    flat = iter(score_pairs(finished.model, pairs, finished.settings.batch_tokens, dtype))
    scores = [[next(flat) for _ in group.texts] for group in groups]
    return {"student": measure(groups, scores, targets), "teacher": measure(groups, targets, targets)}

"""The results of training: the model's files, its int8 form, its model card and its manifest."""

import hashlib
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder as Model

from secondpass.errors import ConfigurationError
from secondpass.models.files import find_model
from secondpass.models.hub import HubAccess
from secondpass.optimize import optimize
from secondpass.records import Pair
from secondpass.training.data import Examples
from secondpass.training.settings import About, TrainSettings
from secondpass.training.trainer import MANIFEST

_PACKAGES = ("accelerate", "datasets", "secondpass", "sentence-transformers", "torch", "transformers")
_SAMPLE = 512  # pairs that calibrate the int8 form, and as many that verify it
_CHUNK = 1000  # pairs tokenised at once
_EXPORT = "onnx"
_CARD, _INT8 = (
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
    def measures(self) -> Mapping[str, float]:
        """The model's measures on the validation data."""
        return self._measures("after")

    @property
    def measures_before(self) -> Mapping[str, float]:
        """The measures of what it started from."""
        return self._measures("before")

    @property
    def improved(self) -> bool:
        """Whether the measure that chose the checkpoint is better than before."""
        metric = self.manifest["metric"]
        return self.measures[metric] > self.measures_before[metric]

    @property
    def refused(self) -> str | None:
        """Why there is no int8 form, with its figures, or None where it was accepted."""
        int8 = self.manifest["int8"]
        return None if int8["accepted"] else str(int8["reason"])

    def __str__(self) -> str:
        """Return what was learned from, each measure before and after, and what became of the int8 form."""
        data, truncated, measures = (self.manifest[key] for key in ("data", "truncated", "measures"))
        teacher = {name: f" (the teacher: {value:.4f})" for name, value in measures.get("teacher", {}).items()}
        lines = [
            f"{data['train']['pairs']} pairs of {data['train']['groups']} questions, loss {self.manifest['loss']}",
            f"validated on {data['validation']['groups']} other questions",
            *(
                f"{name} {self.measures_before[name]:.4f} -> {value:.4f}{teacher.get(name, '')}"
                for name, value in self.measures.items()
            ),
        ]
        if truncated["pairs"]:
            lines.append(
                f"truncated: {truncated['pairs']} training pairs ({truncated['share']:.1%}) are longer than "
                f"{truncated['max_length']} tokens"
            )
        if not self.improved:
            lines.append(f"no better than before on {self.manifest['metric']}: keep the model that you have")
        return "\n".join([*lines, self.refused or f"int8: {self.folder.name}/{_EXPORT}"])

    def _measures(self, of: str) -> Mapping[str, float]:
        measures: Mapping[str, float] = self.manifest["measures"][of]
        return measures


class FinetuneReport(TrainingReport):
    """The result of a fine-tuning."""


class DistillReport(TrainingReport):
    """The result of a distillation."""

    @property
    def teacher_measures(self) -> Mapping[str, float]:
        """The teacher's own measures on the validation data; its agreement with itself is 1."""
        return self._measures("teacher")


def write_model(
    model: Model,
    out: Path,
    run: Mapping[str, Any],
    data: tuple[Examples, Examples],
    settings: TrainSettings,
    about: About,
) -> Mapping[str, Any]:
    """Write the model, its int8 form, its card and, last of all, its manifest; then delete the checkpoints.

    :param model: The model with the best checkpoint's weights.
    :param out: The folder of the run.
    :param run: The manifest's entries on base, settings, data and training.
    :param data: Training and validation data, of which a sample calibrates and verifies the int8 form.
    :param settings: The settings.
    :param about: Texts for the model card.
    :return: The manifest's content.
    """
    model.tokenizer.backend_tokenizer.no_truncation()  # the length of the training isn't that of the model
    model.save_pretrained(str(out), create_model_card=False, safe_serialization=True)
    measures = {name: {key: float(value) for key, value in own.items()} for name, own in run["measures"].items()}
    manifest = {
        **run,
        "about": {**asdict(about), "name": about.name or out.resolve().name},
        "measures": measures,
        "int8": _export(data, settings, out),
        "packages": {name: version(name) for name in _PACKAGES},
        "files": files_hash(out, "*.safetensors", "tokenizer.json", "onnx/*.onnx", "onnx/tokenizer.json"),
    }
    (out / "README.md").write_text(_card(manifest), encoding="utf-8")
    content = json.dumps(manifest, indent=1, ensure_ascii=False)
    (out / MANIFEST).write_text(content, encoding="utf-8")
    shutil.rmtree(out / "checkpoints")
    written: Mapping[str, Any] = json.loads(content)
    return written


def _card(manifest: Mapping[str, Any]) -> str:
    """Return the model card, in Markdown with the hub's front matter."""
    int8, notes, measures = manifest["int8"], manifest["about"]["notes"].strip(), manifest["measures"]
    origin = f"fine-tuned from `{manifest['base']['name']}`"
    if "teacher" in manifest:
        origin = f"distilled from `{manifest['teacher']['name']}`"
    rows = ["| | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|"]
    rows += [
        f"| {key} | " + " | ".join(f"{own[key]:.4f}" for own in measures.values()) + " |" for key in measures["after"]
    ]
    note = f"\n{notes}\n" if notes else ""
    text = _CARD.format(**manifest, origin=origin, note=note, rows="\n".join(rows))
    refusal = None if int8["accepted"] else f"None: {int8['reason']}"
    return f"{text}\n## int8\n\n{refusal or _INT8.format(**int8, megabytes=int8['bytes'] / 1e6)}\n"


def describe(name: str, model: Model) -> dict[str, Any]:
    """Return what a manifest records of the model that a training starts from."""
    folder = find_model(name, "torch", HubAccess())
    return {
        "name": folder.name(name),
        "revision": folder.revision,
        "sha256": files_hash(folder.path, "**/*.safetensors"),
        "weights": sum(parameter.numel() for parameter in model.parameters()),
    }


def truncated(model: Model, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return how many pairs are longer than the model reads, and their share."""
    longer = 0
    for start in range(0, len(pairs), _CHUNK):
        queries, texts = (list(parts) for parts in zip(*pairs[start : start + _CHUNK], strict=True))
        ids = model.tokenizer(queries, texts, truncation=False, verbose=False)["input_ids"]
        longer += sum(len(own) > model.max_seq_length for own in ids)
    return {"pairs": longer, "share": longer / len(pairs), "max_length": model.max_seq_length}


def files_hash(folder: Path, *patterns: str) -> dict[str, str]:
    """Return the SHA-256 of the files that match, by their names relative to the folder."""
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _export(data: tuple[Examples, Examples], settings: TrainSettings, path: Path) -> dict[str, Any]:
    """Export the int8 form, and return its figures, or why it was refused: the model is kept without it."""
    out = path / _EXPORT
    if out.exists():  # from a run that was killed before its manifest
        shutil.rmtree(out)
    fit, check = (_sample(part, settings.seed) for part in data)
    try:
        (form,) = optimize(path, out, calibration=fit, held_out=check, settings=settings.export).forms
    except ConfigurationError as refusal:  # it loses too much, can't be exported, or there are too few pairs
        return {"accepted": False, "reason": str(refusal)}
    figures = asdict(form)
    del figures["folder"]
    return {"accepted": True, **figures, "calibrated_on": len(fit), "verified_on": len(check)}


def _sample(examples: Examples, seed: int) -> list[Pair]:
    """Return whole groups, drawn by the seed, until there are enough pairs: an order is checked within a question."""
    pairs: list[Pair] = []
    for group in random.Random(seed).sample(examples.groups, len(examples.groups)):
        if len(pairs) < _SAMPLE:
            pairs += group.pairs
    return pairs

"""A training run with sentence-transformers' trainer: its folder, its checkpoints, and the best one's weights."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from secondpass.errors import ConfigurationError
from secondpass.training.settings import TrainSettings

MANIFEST = "manifest.json"
"""The file that is written last: a folder that has it holds a finished run."""
_STATE = "trainer_state.json"  # the trainer writes it last: a checkpoint without it was cut off
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, EOFError, UnpicklingError, SafetensorError)
_KEPT_CHECKPOINTS = 2  # the best and the last
_WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True)
class Course:
    """What a trainer needs besides the model and its loss.

    :param columns: The rows that are learned from, in the columns that the loss expects.
    :param evaluator: What measures the model at every interval.
    :param metric: Which of its measures chooses the best checkpoint; higher is better.
    :param checkpoints: The folder for checkpoints.
    :param patience: Evaluations without a better measure after which training ends; None never ends it early.
    """

    columns: Mapping[str, Sequence[Any]]
    evaluator: BaseEvaluator
    metric: str
    checkpoints: Path
    patience: int | None = None


def open_run(folder: Path, plan: Mapping[str, Any]) -> Path:
    """Return the folder of a run's checkpoints; it is created, or is that of a run with the same plan.

    :param folder: The folder that will hold the model.
    :param plan: The settings, and hashes of models and data.
    :raises ConfigurationError: If the folder holds a finished run, a run with another plan, or something else.
    """
    checkpoints, content = folder / "checkpoints", json.dumps(plan, indent=1)
    file = checkpoints / "run.json"
    if (folder / MANIFEST).exists():
        raise ConfigurationError(f"{folder} holds a finished run: take another folder, or move it away")
    if file.exists():
        if file.read_text(encoding="utf-8") != content:
            raise ConfigurationError(
                f"{folder} holds a run with other data or settings (see {file}): give the same ones to resume it, or "
                "take another folder"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} must be empty or new, and holds files that aren't a run's")
    checkpoints.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return checkpoints


def train(model: Model, loss: nn.Module, course: Course, settings: TrainSettings) -> dict[str, Any]:
    """Train to the end, from the last checkpoint if there is one; the model then has the best checkpoint's weights.

    :param model: The model; changed in place.
    :param loss: Its loss.
    :param course: Data, evaluation and folder.
    :param settings: The settings.
    :return: What a manifest says of the run: its steps, and the measures before and after.
    :raises ConfigurationError: If the last checkpoint can't be read.
    """
    model.model.get_input_embeddings().requires_grad_(requires_grad=not settings.freeze_word_embeddings)
    before = course.evaluator(model)
    trainer = CrossEncoderTrainer(
        model=model,
        args=_arguments(settings, course),
        train_dataset=Dataset.from_dict(dict(course.columns)),
        loss=loss,
        evaluator=course.evaluator,
        callbacks=[_EvaluateAtTheEnd(), *([EarlyStoppingCallback(course.patience)] if course.patience else [])],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout where there are no progress bars
    last = _last_checkpoint(course.checkpoints)
    try:
        result = trainer.train(resume_from_checkpoint=last)
    except _UNREADABLE as error:
        if last is None or trainer.state.global_step > int(last.rpartition("-")[2]):
            raise
        raise ConfigurationError(
            f"the run can't be resumed from its last checkpoint, {last}: {error!s:.300}; if it is damaged, delete that "
            "folder to resume from the one before"
        ) from error
    state = trainer.state
    run = {
        "steps": state.global_step,
        "best_step": state.best_global_step or state.global_step,
        "epochs": state.epoch,
        "seconds": round(result.metrics["train_runtime"]),
        "history": [entry for entry in state.log_history if any(key.startswith("eval_") for key in entry)],
    }
    return {"training": run, "measures": {"before": before, "after": course.evaluator(model)}}


def _last_checkpoint(checkpoints: Path) -> str | None:
    """Return the last checkpoint; those that a kill cut off are deleted."""
    for cut_off in checkpoints.glob("checkpoint-*"):
        if not (cut_off / _STATE).exists():
            shutil.rmtree(cut_off)
    last: str | None = get_last_checkpoint(str(checkpoints))
    return last


class _EvaluateAtTheEnd(TrainerCallback):
    """Evaluates and saves after the last step, which needn't be the end of an interval."""

    def on_step_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


def _texts_in_a_row(columns: Mapping[str, Sequence[Any]]) -> int:
    """Return how many texts the longest row has: in its list, or in columns between the question and the label."""
    return max(map(len, columns.get("texts", ())), default=len(columns) - 1 - ("label" in columns))


def _arguments(settings: TrainSettings, course: Course) -> CrossEncoderTrainingArguments:
    every = settings.evaluate_every
    on_gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return CrossEncoderTrainingArguments(
        output_dir=str(course.checkpoints),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=max(1, settings.batch_size // _texts_in_a_row(course.columns)),
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=_WEIGHT_DECAY,
        bf16=settings.precision == "bfloat16" or (settings.precision == "auto" and on_gpu),
        use_cpu=not torch.accelerator.is_available(),
        seed=settings.seed,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=_KEPT_CHECKPOINTS,
        load_best_model_at_end=True,
        metric_for_best_model=course.metric,
        greater_is_better=True,
        logging_steps=every / 10 if every < 1 else max(1, every // 10),
        restore_callback_states_from_checkpoint=True,  # else the patience of early stopping begins anew
        report_to="none",
        disable_tqdm=not settings.progress,
        dataloader_pin_memory=torch.cuda.is_available(),
    )

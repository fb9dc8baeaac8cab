"""sentence-transformers' trainer, with batches by tokens, checkpoints, and the best one's weights at the end."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from torch import nn
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from secondpass.errors import ConfigurationError
from secondpass.training.batches import TokenBatchSampler
from secondpass.training.data import Row
from secondpass.training.losses import DistillationLoss
from secondpass.training.settings import DistillSettings, Precision, TrainSettings

_KEPT_CHECKPOINTS = 2  # the best and the last
_TIMEOUT = timedelta(days=7)  # while one process scores all pairs with the teacher, the others wait


@dataclass(frozen=True, slots=True)
class Course:
    """What a trainer needs besides the model and its loss.

    :param rows: What stays together in a batch.
    :param columns: The rows' contents, as the loss expects them.
    :param evaluator: What measures the model at every interval.
    :param metric: Which of its measures chooses the best checkpoint; higher is better.
    :param folder: The folder for checkpoints.
    """

    rows: Sequence[Row]
    columns: Mapping[str, Sequence[Any]]
    evaluator: BaseEvaluator
    metric: str
    folder: Path


class RowTrainer(CrossEncoderTrainer):
    """Trains on batches under a ceiling of tokens: evaluates and saves at every interval and at the end.

    Afterwards the model has the best checkpoint's weights.

    :param model: The model.
    :param loss: Its loss.
    :param course: Data, evaluation and folder.
    :param settings: The settings.
    :param callbacks: Further callbacks.
    """

    def __init__(
        self,
        model: Model,
        loss: nn.Module,
        course: Course,
        settings: TrainSettings,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        args = _arguments(settings, course)
        if args.device.type == "cpu" and args.bf16:
            use_eager_attention(model)
        super().__init__(
            model=model,
            args=args,
            train_dataset=Dataset.from_dict(dict(course.columns)),
            loss=loss,
            evaluator=course.evaluator,
            callbacks=[_EvaluateAtTheEnd(), *callbacks],
        )
        self.remove_callback(PrinterCallback)  # it prints to stdout where there are no progress bars
        self._rows, self._batch_tokens = course.rows, settings.batch_tokens

    def get_batch_sampler(self, dataset: Any, **_: Any) -> TokenBatchSampler:
        """Return the sampler; it can't be an argument, because arguments are pickled into every checkpoint."""
        seed, world = self.args.seed, self.args.world_size
        return TokenBatchSampler(dataset, self._rows, ceiling=self._batch_tokens, seed=seed, world=world)

    def run(self, checkpoint: Path | None) -> float:
        """Train to the end, from a checkpoint if there is one, and return the seconds that it took.

        :raises ConfigurationError: If a checkpoint can't be written; the one before it is kept.
        """
        try:
            result = self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except (OSError, RuntimeError, SafetensorError) as error:
            if not _disk_is_full(error):
                raise
            raise ConfigurationError(
                f"a checkpoint can't be written to {self.args.output_dir}, the disk is full: free some space, and run "
                f"the same again; it resumes from the last complete checkpoint ({error!s:.200})"
            ) from error
        return float(result.metrics["train_runtime"])


def distill_trainer(
    model: Model,
    loss: DistillationLoss,
    course: Course,
    settings: DistillSettings,
) -> RowTrainer:
    """Return the trainer of a student; the teacher whose hidden states are matched goes to the trainer's device."""
    teacher = loss.teacher
    for each in [model, teacher.model] if teacher else [model]:
        each.config.output_hidden_states = teacher is not None
    trainer = RowTrainer(model, loss, course, settings)
    if teacher:
        dtype = arithmetic(settings.precision)
        if trainer.args.device.type == "cpu" and dtype is torch.bfloat16:
            use_eager_attention(teacher.model)
        teacher.model.to(device=trainer.args.device, dtype=dtype).eval().requires_grad_(requires_grad=False)
    return trainer


def _disk_is_full(error: BaseException) -> bool:
    """Return whether an error, or what caused it, is that of a full disk or an exceeded quota.

    torch and safetensors report it in words of their own.
    """
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return True
    if any(words in str(error) for words in ("No space left", "PytorchStreamWriter failed", "unexpected pos")):
        return True
    return error.__context__ is not None and _disk_is_full(error.__context__)


class _EvaluateAtTheEnd(TrainerCallback):
    """Evaluates and saves after the last step, which needn't be the end of an interval."""

    def on_step_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


def processes() -> PartialState:
    """Return the processes that share a run, one for each device, as ``torchrun`` starts them.

    Without an accelerator, accelerate joins a machine's processes only with ``cpu=True``.
    """
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=_TIMEOUT)


def arithmetic(precision: Precision) -> torch.dtype:
    """Return the dtype of forward and backward passes; weights stay in float32.

    On a CPU bfloat16 is faster with instructions for it, and slower than float32 without.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif torch.backends.mps.is_available():
        native = False
    else:
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def use_eager_attention(model: Model) -> None:
    """Compute attention as matrix products instead of with torch's fused kernel.

    On a CPU that kernel doesn't use the instructions for bfloat16: its backward pass over 1,000 tokens in texts of 50
    to 200 takes two to six times as long.
    """
    model.model.set_attn_implementation("eager")


def _arguments(settings: TrainSettings, course: Course) -> CrossEncoderTrainingArguments:
    return CrossEncoderTrainingArguments(
        output_dir=str(course.folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        bf16=arithmetic(settings.precision) is torch.bfloat16,
        use_cpu=not torch.accelerator.is_available(),
        seed=settings.seed,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=settings.evaluate_every,
        save_steps=settings.evaluate_every,
        save_total_limit=_KEPT_CHECKPOINTS,
        load_best_model_at_end=True,
        metric_for_best_model=course.metric,
        greater_is_better=True,
        logging_steps=settings.evaluate_every / 10
        if settings.evaluate_every < 1
        else max(1, settings.evaluate_every // 10),
        restore_callback_states_from_checkpoint=True,  # else the patience of early stopping begins anew
        report_to="none",
        disable_tqdm=not settings.progress,
        dataloader_drop_last=True,  # distributed training requires it; the sampler drops nothing but the remainder
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"even_batches": False},  # the sampler gives all devices the same number
    )

"""sentence-transformers' trainer, set up for a distillation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import TrainerCallback, TrainerControl, TrainerState

from secondpass.training.batches import TokenBatchSampler
from secondpass.training.groups import Group
from secondpass.training.losses import DistillationLoss, Guide
from secondpass.training.rows import Row
from secondpass.training.settings import DistillSettings, Precision
from secondpass.training.validation import AGREEMENT, StudentEvaluator, Validation

_KEPT_CHECKPOINTS = 2  # the best and the last


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught: the groups, their rows, and the teacher's scores, or the teacher itself.

    :param groups: The groups.
    :param rows: Their rows.
    :param targets: Raw scores for each group's texts; None where the guide gives them.
    :param guide: The teacher whose hidden states are matched, if any.
    """

    groups: Sequence[Group]
    rows: Sequence[Row]
    targets: Sequence[Sequence[float]] | None
    guide: Guide | None


class _Trainer(CrossEncoderTrainer):
    """Draws batches by tokens: a method, since arguments are pickled into every checkpoint and must stay plain."""

    rows: Sequence[Row]
    batch_tokens: int

    def get_batch_sampler(self, dataset: Any, **_: Any) -> TokenBatchSampler:
        return TokenBatchSampler(
            dataset,
            lengths=[row.length for row in self.rows],
            sizes=[len(row.positions) for row in self.rows],
            ceiling=self.batch_tokens,
            seed=self.args.seed,
            world=self.args.world_size,
        )


class _EvaluateAtTheEnd(TrainerCallback):
    """The last step is judged too: without this, what was learned since the last interval would be lost."""

    def on_step_end(self, _: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


def make_trainer(
    model: Model, lesson: Lesson, validation: Validation, settings: DistillSettings, folder: Path
) -> CrossEncoderTrainer:
    """Return a trainer that evaluates and saves at every interval, and ends with the best checkpoint's weights.

    :param model: The student.
    :param folder: Where checkpoints go.
    """
    dtype = arithmetic(settings.precision)
    args = _arguments(settings, dtype, folder)
    model.config.output_hidden_states = lesson.guide is not None
    if lesson.guide is not None:
        lesson.guide.model.config.output_hidden_states = True
        lesson.guide.model.to(device=args.device, dtype=dtype).eval().requires_grad_(requires_grad=False)
    if args.device.type == "cpu" and dtype is torch.bfloat16:
        spell_out_attention([model, lesson.guide.model] if lesson.guide else [model])
    trainer = _Trainer(
        model=model,
        args=args,
        train_dataset=_dataset(lesson),
        loss=DistillationLoss(model, settings, lesson.guide),
        evaluator=StudentEvaluator(validation, settings.batch_tokens, dtype),
        callbacks=[_EvaluateAtTheEnd()],
    )
    trainer.rows, trainer.batch_tokens = lesson.rows, settings.batch_tokens
    return trainer


def arithmetic(precision: Precision) -> torch.dtype:
    """Return what forward and backward passes compute in; weights stay in float32.

    On a CPU bfloat16 pays where there are instructions for it, and is slower than float32 where there are none.
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


def spell_out_attention(models: Sequence[Model]) -> None:
    """Compute attention as matrix products, not by torch's fused kernel.

    On a CPU that kernel doesn't use the instructions for bfloat16: 1,000 tokens in texts of 50 to 200 take its
    backward pass two to six times as long as the matrix products'.
    """
    for model in models:
        model.model.set_attn_implementation("eager")


def _arguments(settings: DistillSettings, dtype: torch.dtype, folder: Path) -> CrossEncoderTrainingArguments:
    return CrossEncoderTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        bf16=dtype is torch.bfloat16,
        use_cpu=not torch.accelerator.is_available(),
        seed=settings.seed,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=settings.evaluate_every,
        save_steps=settings.evaluate_every,
        save_total_limit=_KEPT_CHECKPOINTS,
        load_best_model_at_end=True,
        metric_for_best_model=AGREEMENT,
        greater_is_better=True,
        logging_steps=max(1, settings.evaluate_every // 10),
        report_to="none",
        disable_tqdm=not settings.progress,
        dataloader_drop_last=True,  # asked for by distributed training; the sampler's batches are whole
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"even_batches": False},  # the sampler sees to it
    )


def _dataset(lesson: Lesson) -> Dataset:
    columns: dict[str, list[Any]] = {
        "query": [lesson.groups[row.group].query for row in lesson.rows],
        "texts": [[lesson.groups[row.group].texts[i] for i in row.positions] for row in lesson.rows],
    }
    if lesson.targets is not None:
        columns["label"] = [[lesson.targets[row.group][i] for i in row.positions] for row in lesson.rows]
    return Dataset.from_dict(columns)

"""sentence-transformers' trainer, configured for a distillation."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import TrainerCallback, TrainerControl, TrainerState

from secondpass.training.data import Group, Row, TokenBatchSampler
from secondpass.training.losses import DistillationLoss, HiddenTeacher
from secondpass.training.settings import DistillSettings, Precision
from secondpass.training.validation import AGREEMENT, StudentEvaluator

_KEPT_CHECKPOINTS = 2  # the best and the last
_TIMEOUT = timedelta(days=7)  # while one process scores all pairs with the teacher, the others wait


class DistillTrainer(CrossEncoderTrainer):
    """Trains a student: evaluates and saves at every interval and at the end, and keeps the best checkpoint's weights.

    :param model: The student.
    :param groups: The groups to train on.
    :param rows: Their rows.
    :param targets: The teacher's raw scores, a list for each group, or the teacher whose hidden states are matched.
    :param evaluator: What chooses the best checkpoint.
    :param settings: The settings.
    :param folder: The folder for checkpoints.
    """

    def __init__(
        self,
        model: Model,
        groups: Sequence[Group],
        rows: Sequence[Row],
        targets: Sequence[Sequence[float]] | HiddenTeacher,
        *,
        evaluator: StudentEvaluator,
        settings: DistillSettings,
        folder: Path,
    ) -> None:
        dtype = arithmetic(settings.precision)
        args = _arguments(settings, dtype, folder)
        teacher = targets if isinstance(targets, HiddenTeacher) else None
        for each in [model, teacher.model] if teacher else [model]:
            each.config.output_hidden_states = teacher is not None
            if args.device.type == "cpu" and dtype is torch.bfloat16:
                use_eager_attention(each)
        if teacher:
            teacher.model.to(device=args.device, dtype=dtype).eval().requires_grad_(requires_grad=False)
        columns: dict[str, list[Any]] = {
            "query": [groups[row.group].query for row in rows],
            "texts": [[groups[row.group].texts[i] for i in row.positions] for row in rows],
        }
        if not isinstance(targets, HiddenTeacher):
            columns["label"] = [[targets[row.group][i] for i in row.positions] for row in rows]
        super().__init__(
            model=model,
            args=args,
            train_dataset=Dataset.from_dict(columns),
            loss=DistillationLoss(model, settings, teacher),
            evaluator=evaluator,
            callbacks=[_EvaluateAtTheEnd()],
        )
        self._rows, self._batch_tokens = rows, settings.batch_tokens

    def get_batch_sampler(self, dataset: Any, **_: Any) -> TokenBatchSampler:
        """Return the sampler; it can't be an argument, because arguments are pickled into every checkpoint."""
        seed, world = self.args.seed, self.args.world_size
        return TokenBatchSampler(dataset, self._rows, ceiling=self._batch_tokens, seed=seed, world=world)


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
        dataloader_drop_last=True,  # distributed training requires it; the sampler drops nothing but the remainder
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"even_batches": False},  # the sampler gives all devices the same number
    )

"""``finetune``: from labelled examples and a cross-encoder to a better one in a new folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder as Model
from transformers import EarlyStoppingCallback, set_seed

from secondpass.errors import ConfigurationError, InputError, ModelError
from secondpass.models import bundled_names
from secondpass.optimize.checkpoint import open_model
from secondpass.scoring.hub import HubAccess
from secondpass.scoring.model_files import find_model
from secondpass.training.adapters import AdapterTrainer, add_adapters, merge
from secondpass.training.data import TrainingData, check_leaks, full_lengths, pair_lengths, summary
from secondpass.training.report import FinetuneReport, write_model
from secondpass.training.run_folder import MANIFEST, RunFolder, needed_bytes
from secondpass.training.settings import About, FinetuneSettings
from secondpass.training.students import describe
from secondpass.training.tables import Examples
from secondpass.training.tasks import Task, choose_task
from secondpass.training.trainer import Course, RowTrainer, processes
from secondpass.training.validation import task_evaluator

DEFAULT_SETTINGS, DEFAULT_ABOUT = FinetuneSettings(), About()
HELD_OUT = 0.1
"""The share of the questions that validate where no validation data is given."""
_WITHOUT_GRADIENTS = 4  # how many times the tokens of a training batch an evaluation's batch has


def finetune(
    model: str,
    train: Examples,
    out: str | Path,
    *,
    validation: Examples | float = HELD_OUT,
    settings: FinetuneSettings = DEFAULT_SETTINGS,
    about: About = DEFAULT_ABOUT,
) -> FinetuneReport:
    """Train a cross-encoder on labelled examples, and write a folder that ``load_scorer`` opens.

    The loss follows from the data: cross-entropy for labels 0 and 1 (and for classes), the mean squared error for
    grades and similarities, LambdaLoss for lists, RankNet for triplets, MarginMSE for triplets with a teacher's margin.
    The best checkpoint on the validation data is kept. A run that was killed resumes from its last evaluation when it
    is called again with the same arguments. Under ``torchrun`` each process uses one device.

    :param model: A folder or hub id with safetensors weights. Where classes need another head, it gets a new one.
    :param train: From ``read_table``, ``examples_of`` or ``mine_negatives``.
    :param out: The folder for checkpoints and, at the end, the model; new, or that of the run to resume.
    :param validation: Other examples of the same shape, or the share of the questions of ``train`` to hold back.
    :param settings: How it is trained.
    :param about: Texts for the model card.
    :raises InputError: If a part is empty, has labels of one value only or out of range, or both parts have a question
        (or, of similarities and classes, a pair) in common.
    :raises ConfigurationError: If settings don't fit the data, the folder holds something else, or the disk is too
        full. All of these are raised before the first step; a disk that fills up later is, too, and the last complete
        checkpoint is kept.
    :raises ModelError: If the model can't be opened.
    """
    if isinstance(validation, Examples):
        if (validation.shape, bool(validation.classes)) != (train.shape, bool(train.classes)):
            raise InputError(f"validation data must have the shape of the training data, {train.shape}")
    else:
        train, validation = train.split(validation, settings.seed)
    for name, part in (("train", train), ("validation", validation)):
        if not part.groups:
            raise InputError(f"the {name} data must hold at least one question, and it is empty")
    set_seed(settings.seed)
    opened, train, validation = _open(model, train, validation, settings)
    task = choose_task(train, validation, settings.loss, opened)
    check_leaks(train.groups, validation.groups, whole_pairs=task.kind in {"similarity", "classes"})
    data = TrainingData(train.groups, validation.groups)
    folder, own_length = RunFolder(Path(out)), opened.max_seq_length
    base = describe(opened, model, None)
    opened.max_seq_length = _length(settings.max_length, own_length)
    course, truncated = _course(task, data, opened, settings, folder)
    plan = {
        "base": base,
        "task": task.kind,
        "loss": task.loss,
        "metric": task.metric,
        "settings": settings.to_dict(),
        "processes": processes().num_processes,  # they share the batches, so another number makes other steps
        "data": {"train": summary(data.train), "validation": summary(data.validation)},
    }
    adapted = add_adapters(opened, settings.lora) if settings.lora else None
    with processes().main_process_first():
        checkpoint = folder.begin(plan, needed_bytes(opened))
    stopping = [EarlyStoppingCallback(settings.patience)] if settings.patience else []
    kind = AdapterTrainer if adapted else RowTrainer
    trainer = kind(opened, task.make_loss(opened), course, settings, stopping)
    before = course.evaluator(opened)
    seconds = trainer.run(checkpoint)
    if adapted:
        merge(adapted)
    if processes().is_main_process:
        measures = {"before": before, "after": course.evaluator(opened)}
        manifest = plan | {
            "about": asdict(about),
            "truncated": truncated,
            "training": {"seconds": round(seconds)},
            "measures": {name: {key: float(value) for key, value in own.items()} for name, own in measures.items()},
        }
        opened.max_seq_length = own_length  # what was cut for training is not cut when the model is used
        opened.tokenizer.backend_tokenizer.no_truncation()
        write_model(opened, trainer.state, data, settings, folder, manifest)
    processes().wait_for_everyone()
    return FinetuneReport(folder.path, json.loads((folder.path / MANIFEST).read_text(encoding="utf-8")))


def _open(
    name: str, train: Examples, validation: Examples, settings: FinetuneSettings
) -> tuple[Model, Examples, Examples]:
    """Open the model, and number classes as it does; it gets a new head where it doesn't have these classes.

    :raises ModelError: If it can't be opened, or can't give one score for each pair where there are no classes.
    :raises InputError: If a class of the validation data isn't in the training data.
    """
    if name in bundled_names():
        raise ModelError(
            f"the bundled {name} is an int8 graph, which can't be trained: give a folder or hub id with its float32 "
            "weights, such as cross-encoder/ms-marco-MiniLM-L6-v2"
        )
    folder = find_model(name, "torch", HubAccess())
    model = open_model(folder)
    if train.classes:
        if unknown := sorted(set(validation.classes) - set(train.classes)):
            raise InputError(f"every class of the validation data must be in the training data, {unknown[0]!r} isn't")
        own = {str(label).casefold(): number for number, label in model.config.id2label.items()}
        if model.num_labels == 1 or not {each.casefold() for each in train.classes} <= own.keys():
            names = dict(enumerate(train.classes))
            config = {"num_labels": len(names), "id2label": names, "label2id": {v: k for k, v in names.items()}}
            model = open_model(folder, None, config, new_head=True)
            own = {label.casefold(): number for number, label in names.items()}
        names_of_model = tuple(str(model.config.id2label[number]) for number in range(model.num_labels))
        train, validation = (_renumbered(part, own, names_of_model) for part in (train, validation))
    elif model.num_labels > 1 and train.shape != "pairs":
        raise ModelError(f"to learn an order a model must give one score a pair, {name} gives {model.num_labels}")
    if settings.freeze_word_embeddings:
        model.model.get_input_embeddings().requires_grad_(requires_grad=False)
    return model, train, validation


def _length(asked: int | None, own: int) -> int:
    if asked is not None and not 8 <= asked <= own:
        raise ConfigurationError(f"max_length must be from 8 to the model's {own} tokens, got {asked}")
    return asked or own


def _renumbered(examples: Examples, numbers: Mapping[str, int], names: tuple[str, ...]) -> Examples:
    """Return examples whose classes are numbered as the model's."""
    new = {float(old): float(numbers[name.casefold()]) for old, name in enumerate(examples.classes)}
    groups = (replace(group, labels=tuple(new[label] for label in group.labels or ())) for group in examples.groups)
    return replace(examples, groups=tuple(groups), classes=names)


def _course(
    task: Task, data: TrainingData, model: Model, settings: FinetuneSettings, folder: RunFolder
) -> tuple[Course, dict[str, Any]]:
    """Return what the trainer needs, and how many training pairs the model can't read whole.

    :raises InputError: If pairs are longer than the model reads, and truncation isn't allowed.
    """
    longest, tokenizer = model.max_seq_length, model.tokenizer
    full = [length for own in full_lengths(data.train, tokenizer) for length in own]
    longer = sum(length > longest for length in full)
    lengths, to_judge = (
        pair_lengths(groups, tokenizer, longest, truncate=settings.truncate) for groups in (data.train, data.validation)
    )
    rows = task.rows(data.train, lengths, settings)
    batch_size = max(1, _WITHOUT_GRADIENTS * settings.batch_tokens // max(map(max, to_judge)))
    evaluator = task_evaluator(task, data.validation, batch_size)
    course = Course(rows, task.columns(data.train, rows), evaluator, task.metric, folder.checkpoints)
    return course, {"pairs": longer, "share": longer / len(full), "max_length": longest}

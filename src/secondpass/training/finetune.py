"""``finetune``: from labelled examples and a cross-encoder to a better one in a new folder."""

from pathlib import Path

from secondpass.errors import ConfigurationError
from secondpass.training.data import Examples, two_parts
from secondpass.training.report import FinetuneReport, describe, truncated, write_model
from secondpass.training.settings import About, FinetuneSettings
from secondpass.training.students import open_scorer
from secondpass.training.tasks import LOSSES, METRICS, choose_task
from secondpass.training.trainer import Course, open_run, train

DEFAULT_SETTINGS, DEFAULT_ABOUT = FinetuneSettings(), About()
HELD_OUT = 0.1
"""The share of the questions that validate where no validation data is given."""


def finetune(
    model: str,
    examples: Examples,
    out: str | Path,
    *,
    validation: Examples | float = HELD_OUT,
    settings: FinetuneSettings = DEFAULT_SETTINGS,
    about: About = DEFAULT_ABOUT,
) -> FinetuneReport:
    """Train a cross-encoder on labelled examples, and write a folder that ``load_scorer`` opens.

    The loss follows from the data: cross-entropy for labels 0 and 1, the mean squared error for grades and
    similarities, LambdaLoss for lists, RankNet for triplets. The best checkpoint on the validation data is kept. A run
    that was killed resumes from its last evaluation when it is called again with the same arguments.

    :param model: A folder or hub id with safetensors weights.
    :param examples: From ``read_table``, ``examples_of`` or ``mine_negatives``.
    :param out: The folder for checkpoints and, at the end, the model; new, or that of the run to resume.
    :param validation: Other examples of the same shape, or the share of the questions of ``examples`` to hold back.
    :param settings: How it is trained.
    :param about: Texts for the model card.
    :raises InputError: If a part is empty, has labels of one value only or out of range, or both parts have a question
        in common.
    :raises ConfigurationError: If settings don't fit the data, the folder holds something else, or a killed run's last
        checkpoint can't be read.
    :raises ModelError: If the model can't be opened, or gives several scores for a pair.
    """
    learned, judged = two_parts(examples, validation, settings.seed)
    task = choose_task(learned, judged, settings.loss)
    opened = open_scorer(model)
    own_length = opened.max_seq_length
    if (settings.max_length or 0) > own_length:
        raise ConfigurationError(
            f"max_length must be at most the model's {own_length} tokens, got {settings.max_length}"
        )
    opened.max_seq_length = settings.max_length or own_length
    plan = {
        "base": describe(model, opened),
        "loss": task.loss,
        "metric": METRICS[task.kind],
        "settings": settings.to_dict(),
        "data": {"train": learned.summary(), "validation": judged.summary()},
    }
    checkpoints = open_run(Path(out), plan)
    evaluator = task.evaluator(judged, settings.batch_size)
    columns = task.columns(learned.groups, settings)
    course = Course(columns, evaluator, METRICS[task.kind], checkpoints, settings.patience)
    outcome = train(opened, LOSSES[task.loss](opened), course, settings)
    outcome["truncated"] = truncated(opened, learned.pairs)
    opened.max_seq_length = own_length  # what was truncated for training is not when the model is used
    return FinetuneReport(Path(out), write_model(opened, Path(out), plan | outcome, (learned, judged), settings, about))

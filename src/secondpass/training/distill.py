"""``distill``: from a teacher and training data to a smaller cross-encoder in a new folder."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder as Model
from sentence_transformers.cross_encoder.losses import MarginMSELoss, MSELoss
from tqdm.auto import tqdm

from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.models.files import find_model
from secondpass.models.hub import HubAccess
from secondpass.records import Score
from secondpass.scorers.cached import Cached
from secondpass.scorers.load import load_scorer
from secondpass.scoring.scorer import Scorer, release_memory, score_checked
from secondpass.training.data import Examples, two_parts
from secondpass.training.finetune import HELD_OUT
from secondpass.training.report import DistillReport, describe, truncated, write_model
from secondpass.training.settings import About, DistillSettings
from secondpass.training.students import HiddenStatesLoss, make_student, open_scorer
from secondpass.training.trainer import Course, open_run, train
from secondpass.training.validation import AGREEMENT, RankingEvaluator

DEFAULT_SETTINGS, DEFAULT_ABOUT = DistillSettings(), About()
_CHUNK = 512  # pairs between two writes of teacher scores: what a kill can cost


def distill(
    teacher: str | Scorer,
    examples: Examples,
    out: str | Path,
    *,
    validation: Examples | float = HELD_OUT,
    settings: DistillSettings = DEFAULT_SETTINGS,
    about: About = DEFAULT_ABOUT,
) -> DistillReport:
    """Train a smaller cross-encoder to score as the teacher does, and write a folder that ``load_scorer`` opens.

    With hidden states matched, the teacher is run beside the student on the same batches, and its scores come from
    there. Without, it scores all pairs once before the first step, through ``Cached`` with a file in ``out``. A run
    that was killed resumes from its last evaluation when it is called again with the same arguments.

    :param teacher: A folder or hub id; or, without matched hidden states, any scorer. Give a ``Cached`` one to share
        its scores between runs.
    :param examples: Questions with their texts; labels are only used to measure.
    :param out: The folder for checkpoints and, at the end, the student; new, or that of the run to resume.
    :param validation: Other examples, or the share of the questions of ``examples`` to hold back.
    :param settings: What the student starts from, and how it is trained.
    :param about: Texts for the model card.
    :raises InputError: If a part is empty or has no question with two texts, or both have a question in common.
    :raises ConfigurationError: If settings don't fit teacher and student, the folder holds something else, or a killed
        run's last checkpoint can't be read.
    :raises ModelError: If a model can't be opened.
    :raises ScoringError: If the teacher leaves a pair without a score.
    """
    learned, judged = two_parts(examples, validation, settings.seed)
    for name, part in (("train", learned), ("validation", judged)):
        if all(len(group.texts) == 1 for group in part.groups):
            raise InputError(f"the {name} data must hold a question with two texts or more")
    base = settings.base or (teacher if isinstance(teacher, str) else None)
    if base is None:
        raise ConfigurationError("a student needs a base where the teacher is a scorer: give DistillSettings(base=...)")
    scorer = _open_teacher(teacher, settings.max_length) if isinstance(teacher, str) else teacher
    model = make_student(base, settings.layers, settings.max_length)
    loss = _hidden_loss(teacher, model, settings) if settings.hidden_weight else None
    plan = {
        "base": describe(base, model),
        "teacher": {"name": scorer.spec.name, "fingerprint": scorer.spec.fingerprint},
        "loss": settings.objective,
        "metric": AGREEMENT,
        "settings": settings.to_dict(),
        "data": {"train": learned.summary(), "validation": judged.summary()},
    }
    checkpoints = open_run(Path(out), plan)
    if scorer.spec.pointwise:  # pairs that compete within a call have no score of their own to keep
        scorer = Cached(scorer, checkpoints / "teacher-scores.sqlite", allow_batch_dependent=True)
    wanted = _teacher_scores(scorer, judged, "validation", progress=settings.progress)
    labels = None if loss else _teacher_scores(scorer, learned, "train", progress=settings.progress)
    release_memory(scorer)
    evaluator = RankingEvaluator(judged, settings.batch_size, wanted)
    size = 2 if settings.objective == "margin-mse" else 1
    course = Course(_columns(learned, labels, size, settings.seed), evaluator, AGREEMENT, checkpoints)
    outcome = train(model, loss or (MarginMSELoss if size > 1 else MSELoss)(model), course, settings)
    outcome["measures"]["teacher"] = evaluator.measure(wanted)
    outcome["truncated"] = truncated(model, learned.pairs)
    model.config.output_hidden_states = False
    return DistillReport(Path(out), write_model(model, Path(out), plan | outcome, (learned, judged), settings, about))


def _open_teacher(name: str, max_length: int | None) -> Scorer:
    """Open the teacher from its float weights where it has them, rather than from an int8 form beside them."""
    floats = find_model(name, "torch", HubAccess()).has_checkpoint
    return load_scorer(name, engine="torch" if floats else "auto", max_length=max_length)


def _hidden_loss(teacher: str | Scorer, model: Model, settings: DistillSettings) -> HiddenStatesLoss:
    if not isinstance(teacher, str):
        raise ConfigurationError(
            "hidden states can be matched where the teacher is given as a folder or hub id, not as a scorer: "
            "set hidden_weight=0"
        )
    return HiddenStatesLoss(model, open_scorer(teacher, model.max_seq_length), settings.hidden_weight)


def _teacher_scores(scorer: Scorer, examples: Examples, name: str, *, progress: bool) -> list[float]:
    """Return the teacher's raw scores of all pairs.

    :raises ScoringError: If it left a pair without a score.
    """
    pairs, scores = examples.pairs, []
    for start in tqdm(range(0, len(pairs), _CHUNK), desc=f"teacher: {name}", disable=not progress):
        chunk = pairs[start : start + _CHUNK]
        for pair, outcome in zip(chunk, score_checked(scorer, chunk, None).outcomes, strict=True):
            if not isinstance(outcome, Score):
                raise ScoringError(
                    f"the teacher must score every pair, and left out query {pair.query!r:.60}, text "
                    f"{pair.text!r:.60}: {outcome.reason} {outcome.detail}".rstrip()
                )
            scores.append(outcome.value)
    return scores


def _columns(examples: Examples, scores: Sequence[float] | None, size: int, seed: int) -> dict[str, list[Any]]:
    """Return the rows that are learned from: a question with a text, or with two texts for a difference of scores.

    :param scores: The teacher's of all pairs, which become labels; None where it runs beside the student.
    :param size: 1 or 2 texts.
    """
    draw, first, pairs = random.Random(seed), 0, examples.pairs
    rows: list[list[int]] = []  # numbers of pairs
    for group in examples.groups:
        order = draw.sample(range(first, first + len(group.texts)), len(group.texts))
        first += len(group.texts)
        if len(order) > size and len(order) % size:
            order.append(order[0])
        rows += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    columns: dict[str, list[Any]] = {"query": [pairs[row[0]].query for row in rows]}
    for place in range(size):
        columns[f"text_{place}"] = [pairs[row[place]].text for row in rows]
    if scores is not None:
        columns["label"] = [scores[row[0]] - (scores[row[1]] if size > 1 else 0.0) for row in rows]
    return columns

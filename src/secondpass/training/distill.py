"""Distillation: a teacher's view of many pairs, learned by a smaller model."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder as Model

from secondpass.errors import ConfigurationError
from secondpass.scoring.model_files import HubAccess, find_model
from secondpass.scoring.protocol import Scorer
from secondpass.scoring.registry import load_scorer
from secondpass.training.deliver import Finished, deliver, read_report
from secondpass.training.groups import Group, check_split, groups_hash
from secondpass.training.losses import Guide
from secondpass.training.processes import processes
from secondpass.training.report import DistillReport
from secondpass.training.rows import checked_lengths, make_rows
from secondpass.training.run_folder import RunFolder
from secondpass.training.settings import About, DistillSettings, Student
from secondpass.training.store import ScoreStore
from secondpass.training.students import describe, first_token_layer, make_student, matched_layers, open_model
from secondpass.training.trainer import Lesson, make_trainer
from secondpass.training.validation import Validation

_BYTES_PER_WEIGHT = 4
_CHECKPOINTS = 3  # the best, the last, and the one that is being written


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from, and what judges; no question may be in both."""

    train: Sequence[Group]
    validation: Sequence[Group]


DEFAULT_STUDENT, DEFAULT_SETTINGS, DEFAULT_ABOUT = Student(), DistillSettings(), About()


def distill(
    teacher: str | Scorer,
    data: TrainingData,
    out: str | Path,
    *,
    student: Student = DEFAULT_STUDENT,
    settings: DistillSettings = DEFAULT_SETTINGS,
    about: About = DEFAULT_ABOUT,
    scores: str | Path | None = None,
) -> DistillReport:
    """Teach a smaller cross-encoder to score as the teacher does, and leave it as a folder that ``load_scorer`` opens.

    With hidden states matched, the teacher is run beside the student on the same batches, and its scores come from
    there. Without, it scores all pairs once before the first step, and the scores are kept on disk. A run that was
    killed goes on from its last evaluation when it is called again with the same arguments. Under ``torchrun`` each
    process takes a device.

    :param teacher: A folder or hub id; or, without matched hidden states, any scorer.
    :param data: What is learned from, and what judges.
    :param out: The folder for checkpoints and, at the end, the student; new, or one that such a run began.
    :param student: What the student starts from.
    :param settings: How it is taught.
    :param about: What the model card says beside the figures.
    :param scores: The file of teacher scores; None keeps it in ``out``. Give one to share it between runs.
    :raises InputError: If the data is empty, leaks between train and validation, or is longer than the model reads.
    :raises ConfigurationError: If settings don't fit teacher and student, the folder holds something else, or the
        disk has no room. All of these are raised before the first step.
    :raises ModelError: If a model can't be opened, or the last checkpoint is damaged.
    """
    started = time.monotonic()
    check_split(data.train, data.validation, within_questions=settings.objective == "margin-mse")
    scorer = _open_teacher(teacher, settings) if isinstance(teacher, str) else teacher
    base = _base(teacher, student)
    model = make_student(student, base, settings.max_length)
    guide = _guide(teacher, model, student, settings)
    rows = make_rows(data.train, settings, model.tokenizer, model.max_seq_length)
    checked_lengths(data.validation, settings, model.tokenizer, model.max_seq_length)
    folder = RunFolder(Path(out))
    plan = _plan(scorer, data, student, settings) | {"base": describe(model, base, student.revision)}
    with processes().main_process_first():
        checkpoint = folder.begin(plan, _bytes(model))
        store = ScoreStore(Path(scores) if scores else folder.checkpoints / "teacher-scores.sqlite")
        targets = store.score_groups(scorer, data.validation, "validation", progress=settings.progress)
        taught = None if guide else store.score_groups(scorer, data.train, "train", progress=settings.progress)
    validation = Validation(data.validation, targets)
    trainer = make_trainer(model, Lesson(data.train, rows, taught, guide), validation, settings, folder.checkpoints)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if processes().is_main_process:
        finished = Finished(model, trainer.state, validation, settings, time.monotonic() - started)
        deliver(finished, data.train, folder, plan, about)
    processes().wait_for_everyone()
    return read_report(folder)


def _open_teacher(name: str, settings: DistillSettings) -> Scorer:
    """Open the teacher from its own weights where it has them: what judges must be what teaches, not its int8 form."""
    whole = find_model(name, "torch", HubAccess()).has_checkpoint
    return load_scorer(name, engine="torch" if whole else "auto", max_length=settings.max_length)


def _base(teacher: str | Scorer, student: Student) -> str:
    if student.base is not None:
        return student.base
    if isinstance(teacher, str):
        return teacher
    raise ConfigurationError("a student needs a base where the teacher is a scorer: give Student(base=...)")


def _guide(teacher: str | Scorer, model: Model, student: Student, settings: DistillSettings) -> Guide | None:
    if settings.hidden_weight == 0:
        return None
    if not isinstance(teacher, str):
        raise ConfigurationError(
            "hidden states can be matched where the teacher is given as a folder or hub id, and a scorer came: "
            "set hidden_weight=0"
        )
    guide = open_model(teacher, max_length=model.max_seq_length)
    return Guide(guide, matched_layers(guide, model, student.match), first_token_layer(guide))


def _plan(scorer: Scorer, data: TrainingData, student: Student, settings: DistillSettings) -> dict[str, Any]:
    """Return what decides the student's weights."""
    return {
        "teacher": {"name": scorer.spec.name, "fingerprint": scorer.spec.fingerprint},
        "student": asdict(student),
        "settings": settings.to_dict(),
        "processes": processes().num_processes,  # they share the batches, so another number makes other steps
        "data": {
            "train": {"groups": len(data.train), "pairs": _pairs(data.train), "sha256": groups_hash(data.train)},
            "validation": {
                "groups": len(data.validation),
                "pairs": _pairs(data.validation),
                "sha256": groups_hash(data.validation),
            },
        },
    }


def _pairs(groups: Sequence[Group]) -> int:
    return sum(len(group.texts) for group in groups)


def _bytes(model: Model) -> int:
    """Return what a run takes at its worst: the student, and three checkpoints with two moments for each weight."""
    weights = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    every = sum(count for count, _ in weights)
    learning = sum(count for count, learns in weights if learns)
    needed: int = _BYTES_PER_WEIGHT * (every + _CHECKPOINTS * (every + 2 * learning))
    return needed

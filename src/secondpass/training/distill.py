"""``distill``: from a teacher and training data to a smaller cross-encoder in a new folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder as Model

from secondpass.errors import ConfigurationError
from secondpass.optimize.checkpoint import reads_first_token_only
from secondpass.scoring.hub import HubAccess
from secondpass.scoring.load import load_scorer
from secondpass.scoring.model_files import find_model
from secondpass.scoring.scorer import Scorer
from secondpass.training.data import TrainingData, check_split, make_rows, pair_lengths, score_columns, summary
from secondpass.training.losses import DistillationLoss, HiddenTeacher
from secondpass.training.report import DistillReport, write_model
from secondpass.training.run_folder import MANIFEST, RunFolder, needed_bytes
from secondpass.training.settings import About, DistillSettings, Student
from secondpass.training.store import ScoreStore
from secondpass.training.students import describe, make_student, matched_layers, open_scorer
from secondpass.training.trainer import Course, arithmetic, distill_trainer, processes
from secondpass.training.validation import AGREEMENT, StudentEvaluator

DEFAULT_STUDENT, DEFAULT_SETTINGS, DEFAULT_ABOUT = Student(), DistillSettings(), About()
_WITHOUT_GRADIENTS = 4  # how many times the tokens of a training batch an evaluation's batch has


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
    """Train a smaller cross-encoder to score as the teacher does, and write a folder that ``load_scorer`` opens.

    With hidden states matched, the teacher is run beside the student on the same batches, and its scores come from
    there. Without, it scores all pairs once before the first step, and the scores are kept on disk. A run that was
    killed resumes from its last evaluation when it is called again with the same arguments. Under ``torchrun`` each
    process uses one device.

    :param teacher: A folder or hub id; or, without matched hidden states, any scorer.
    :param data: Training and validation groups.
    :param out: The folder for checkpoints and, at the end, the student; new, or that of the run to resume.
    :param student: What the student starts from.
    :param settings: How it is trained.
    :param about: Texts for the model card.
    :param scores: The file of teacher scores; None keeps it in ``out``. Give one to share it between runs.
    :raises InputError: If the data is empty, has a question in both parts, or is longer than the model reads.
    :raises ConfigurationError: If settings don't fit teacher and student, the folder holds something else, or the
        disk is too full. All of these are raised before the first step.
    :raises ModelError: If a model can't be opened.
    """
    check_split(data.train, data.validation, within_questions=settings.objective == "margin-mse")
    scorer = _open_teacher(teacher, settings) if isinstance(teacher, str) else teacher
    base = student.base or (teacher if isinstance(teacher, str) else None)
    if base is None:
        raise ConfigurationError("a student needs a base where the teacher is a scorer: give Student(base=...)")
    model = make_student(student, base, settings.max_length)
    hidden = _hidden_teacher(teacher, model, student) if settings.hidden_weight else None
    rows = make_rows(data.train, settings, model.tokenizer, model.max_seq_length)
    lengths = pair_lengths(data.validation, model.tokenizer, model.max_seq_length, truncate=settings.truncate)
    folder = RunFolder(Path(out))
    plan = _plan(scorer, data, student, settings) | {"base": describe(model, base, student.revision)}
    with processes().main_process_first():
        checkpoint = folder.begin(plan, needed_bytes(model))
        store = ScoreStore(Path(scores) if scores else folder.checkpoints / "teacher-scores.sqlite")
        wanted = store.score_groups(scorer, data.validation, "validation", progress=settings.progress)
        targets = hidden or store.score_groups(scorer, data.train, "train", progress=settings.progress)
    batch_size = max(1, _WITHOUT_GRADIENTS * settings.batch_tokens // max(map(max, lengths)))
    evaluator = StudentEvaluator(data.validation, wanted, batch_size, arithmetic(settings.precision))
    columns = score_columns(data.train, rows, None if isinstance(targets, HiddenTeacher) else targets)
    course = Course(rows, columns, evaluator, AGREEMENT, folder.checkpoints)
    trainer = distill_trainer(model, DistillationLoss(model, settings, hidden), course, settings)
    seconds = trainer.run(checkpoint)
    if processes().is_main_process:
        model.config.output_hidden_states = False
        manifest = plan | {
            "about": asdict(about),
            "training": {"seconds": round(seconds)},
            "measures": {"student": evaluator(model), "teacher": evaluator.teacher()},
        }
        write_model(model, trainer.state, data, settings, folder, manifest)
    processes().wait_for_everyone()
    return DistillReport(folder.path, json.loads((folder.path / MANIFEST).read_text(encoding="utf-8")))


def _open_teacher(name: str, settings: DistillSettings) -> Scorer:
    """Open the teacher from its float weights where it has them, rather than from an int8 form beside them."""
    floats = find_model(name, "torch", HubAccess()).has_checkpoint
    return load_scorer(name, engine="torch" if floats else "auto", max_length=settings.max_length)


def _hidden_teacher(teacher: str | Scorer, model: Model, student: Student) -> HiddenTeacher:
    if not isinstance(teacher, str):
        raise ConfigurationError(
            "hidden states can be matched where the teacher is given as a folder or hub id, not as a scorer: "
            "set hidden_weight=0"
        )
    opened = open_scorer(teacher, max_length=model.max_seq_length)
    return HiddenTeacher(opened, matched_layers(opened, model, student.match), reads_first_token_only(opened))


def _plan(scorer: Scorer, data: TrainingData, student: Student, settings: DistillSettings) -> dict[str, Any]:
    """Return what decides the student's weights."""
    return {
        "teacher": {"name": scorer.spec.name, "fingerprint": scorer.spec.fingerprint},
        "student": asdict(student),
        "settings": settings.to_dict(),
        "processes": processes().num_processes,  # they share the batches, so another number makes other steps
        "data": {"train": summary(data.train), "validation": summary(data.validation)},
    }

"""Fine-tuning of a cross-encoder, and distillation into a smaller one, with sentence-transformers' trainer."""

from secondpass.errors import require

require("secondpass.training", "train", "sentence-transformers", "accelerate", "datasets", "ir-measures", "onnx")

from secondpass.training.data import Group, TrainingData, read_groups
from secondpass.training.distill import distill
from secondpass.training.finetune import finetune
from secondpass.training.mining import Guard, Mined, MiningReport, MiningSettings, mine_negatives
from secondpass.training.report import DistillReport, FinetuneReport
from secondpass.training.settings import About, DistillSettings, FinetuneSettings, Student
from secondpass.training.tables import Examples, examples_of, read_table, read_texts
from secondpass.training.tasks import LOSSES

__all__ = [
    "LOSSES",
    "About",
    "DistillReport",
    "DistillSettings",
    "Examples",
    "FinetuneReport",
    "FinetuneSettings",
    "Group",
    "Guard",
    "Mined",
    "MiningReport",
    "MiningSettings",
    "Student",
    "TrainingData",
    "distill",
    "examples_of",
    "finetune",
    "mine_negatives",
    "read_groups",
    "read_table",
    "read_texts",
]

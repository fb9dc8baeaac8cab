"""Fine-tuning of a cross-encoder, and distillation into a smaller one, with sentence-transformers' trainer."""

from secondpass.errors import require

require("secondpass.training", "train", "sentence-transformers", "accelerate", "datasets", "ir-measures", "onnx")

from secondpass.training.data import Examples, Group, examples_of, read_table, read_texts
from secondpass.training.distill import distill
from secondpass.training.finetune import finetune
from secondpass.training.mining import Mined, mine_negatives
from secondpass.training.report import DistillReport, FinetuneReport
from secondpass.training.settings import About, DistillSettings, FinetuneSettings
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
    "Mined",
    "distill",
    "examples_of",
    "finetune",
    "mine_negatives",
    "read_table",
    "read_texts",
]

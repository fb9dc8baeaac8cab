"""Distillation of a cross-encoder into a smaller one, with sentence-transformers' trainer."""

from secondpass.errors import require

require("secondpass.training", "train", "sentence-transformers", "accelerate", "datasets", "ir-measures", "onnx")

from secondpass.training.data import Group, TrainingData, read_groups
from secondpass.training.distill import distill
from secondpass.training.report import DistillReport
from secondpass.training.settings import About, DistillSettings, Student

__all__ = ["About", "DistillReport", "DistillSettings", "Group", "Student", "TrainingData", "distill", "read_groups"]

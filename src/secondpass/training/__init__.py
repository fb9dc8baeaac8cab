"""Training: distillation of a cross-encoder into a smaller one, on sentence-transformers' trainer."""

from secondpass.training.extra import require_train

require_train()

from secondpass.training.distill import TrainingData, distill
from secondpass.training.groups import Group, read_groups
from secondpass.training.report import DistillReport
from secondpass.training.settings import About, DistillSettings, Student

__all__ = ["About", "DistillReport", "DistillSettings", "Group", "Student", "TrainingData", "distill", "read_groups"]

"""The command line: each command is a module, and importing it here registers it."""

from secondpass.cli import bench, demo, distill, doctor, evaluate, finetune, optimize, rerank
from secondpass.cli.app import app

__all__ = ["app", "bench", "demo", "distill", "doctor", "evaluate", "finetune", "optimize", "rerank"]

"""The command line: each command is a module, and importing it here registers it."""

from secondpass.cli import demo, distill, doctor, evaluate, rerank
from secondpass.cli.app import app

__all__ = ["app", "demo", "distill", "doctor", "evaluate", "rerank"]

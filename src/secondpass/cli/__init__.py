"""The command line; each subcommand is a file, and importing it here makes it known."""

from secondpass.cli import demo, distill, doctor, evaluate, rerank
from secondpass.cli.app import app

__all__ = ["app", "demo", "distill", "doctor", "evaluate", "rerank"]

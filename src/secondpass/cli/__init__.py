"""The command line: each command is a module, and importing it here registers it."""

from secondpass.cli import ask, audit, distill, doctor, evaluate, finetune, optimize, rerank, serve  # noqa: F401
from secondpass.cli.app import app

__all__ = ["app"]

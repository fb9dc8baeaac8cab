"""The command line: each command is a module, and importing it here registers it."""

from secondpass.cli import (
    ask,
    audit,
    bench,
    distill,
    doctor,
    evaluate,
    explain,
    finetune,
    models,
    optimize,
    rerank,
    serve,
)
from secondpass.cli.app import app

__all__ = [
    "app",
    "ask",
    "audit",
    "bench",
    "distill",
    "doctor",
    "evaluate",
    "explain",
    "finetune",
    "models",
    "optimize",
    "rerank",
    "serve",
]

"""The command line: each command is a module, and importing it here registers it."""

from secondpass.cli import (
    ask,
    audit,
    demo,
    distill,
    doctor,
    evaluate,
    finetune,
    optimize,
    rerank,
    serve,
)
from secondpass.cli.app import app

__all__ = [
    "app",
    "ask",
    "audit",
    "demo",
    "distill",
    "doctor",
    "evaluate",
    "finetune",
    "optimize",
    "rerank",
    "serve",
]

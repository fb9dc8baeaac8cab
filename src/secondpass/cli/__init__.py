"""The command line: each command is a module, and importing it here registers it."""

from secondpass.cli import audit, bench, demo, distill, doctor, evaluate, optimize, rerank
from secondpass.cli.app import app

__all__ = ["app", "audit", "bench", "demo", "distill", "doctor", "evaluate", "optimize", "rerank"]

"""The demo: questions to Python's language reference, from the vector store to the context budget."""

from secondpass.cli.demo import run

__all__ = ["run"]

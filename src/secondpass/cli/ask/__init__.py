"""``secondpass ask``: a question to the user's own text files, answered by a ranked context within a budget."""

from secondpass.cli.ask import run

__all__ = ["run"]

"""The ``secondpass`` command: looks whether it can run at all before it imports what it runs on."""

import sys
from importlib.util import find_spec

from secondpass.errors import MissingExtra

_NEEDED = ("typer", "rich", "packaging")


def main() -> None:
    """Run the command line, or say which extra is missing."""
    for package in _NEEDED:
        if find_spec(package) is None:
            print(MissingExtra("the secondpass command", package, "cli"), file=sys.stderr)
            sys.exit(2)
    from secondpass.cli import app  # imports typer and rich

    app()


if __name__ == "__main__":
    main()

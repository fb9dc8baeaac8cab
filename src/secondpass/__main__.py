"""The ``secondpass`` command, which checks that its extra is installed before it imports anything of it."""

import sys

from secondpass.errors import MissingExtra, require


def main() -> None:
    """Run the command line, or print which extra is missing."""
    try:
        require("the secondpass command", "cli", "typer", "rich", "packaging", "pydantic")
    except MissingExtra as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    from secondpass.cli import app  # imports typer and rich

    app()


if __name__ == "__main__":
    main()

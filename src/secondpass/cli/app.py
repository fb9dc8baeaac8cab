"""The command line's root, and what its commands share: one-line errors, consoles, progress bars."""

import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress, SpinnerColumn, TaskID, TimeElapsedColumn
from rich.segment import Segment
from rich.text import Text

from secondpass.errors import SecondpassError
from secondpass.text import CONTROLS, printable

_CANNOT_RUN = 2
_PLAIN_WIDTH = 100  # columns where the output is no terminal

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)


def installed_version(name: str) -> str | None:
    """Return an installed distribution's version, or None where there is none of that name."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secondpass {installed_version('secondpass') or '(not installed as a package)'}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Rerank candidates and trim them to an LLM's context budget: the second pass of retrieval."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors of secondpass and of the file system into one line and an exit code; typer handles a broken pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (SecondpassError, OSError) as error:
        typer.echo(f"secondpass: {printable(' '.join(str(error).split()))}", err=True)
        raise typer.Exit(_CANNOT_RUN) from error


def console(*, stderr: bool = False) -> Console:
    """Return a console of the terminal's width; where the output is no terminal, of ``COLUMNS``, or of 100."""
    stream = _forgiving(sys.stderr if stderr else sys.stdout)
    known = stream.isatty() or "COLUMNS" in os.environ
    return _CleanConsole(file=stream, width=None if known else _PLAIN_WIDTH)


class _CleanConsole(Console):
    """A console that a text's control characters don't reach."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of what is printed."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def say(text: str) -> None:
    """Print to stdout, whatever its encoding; control characters become escapes, which JSON reads as they were."""
    escaped = CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    typer.echo(escaped, file=_forgiving(sys.stdout))


def _forgiving(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without the arrows shows ? instead of failing
    return stream


@contextmanager
def bars(screen: Console | None = None, *, plain: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each piece of work, by its name, what is done and the total, if that is known.

    :param screen: Where to; stderr without it.
    :param plain: Print a line for each piece where the screen is no terminal; without it, nothing.
    """
    screen = screen or console(stderr=True)
    columns = (SpinnerColumn(), *Progress.get_default_columns(), TimeElapsedColumn())
    watched = screen.is_terminal
    with Progress(*columns, console=screen, disable=not watched, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, of: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
                if plain and not watched:
                    screen.print(Text(f"{what} ..."))
            progress.update(tasks[what], completed=done, total=of)

        yield report

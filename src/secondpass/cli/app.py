"""The command itself, and what its subcommands share: errors in one line, consoles, bars, models."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TextIO, cast

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from secondpass.demo.view import PLAIN_WIDTH
from secondpass.doctor import installed_version
from secondpass.errors import SecondpassError
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.protocol import Scorer
from secondpass.scoring.registry import EngineName, load_scorer

_CANNOT_RUN = 2

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secondpass {installed_version('secondpass') or 'that is not installed as a package'}")
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
    """Turn what secondpass and the file system raise into one line and an exit code; a broken pipe is typer's."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (SecondpassError, OSError) as error:
        typer.echo(f"secondpass: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(_CANNOT_RUN) from error


def console(*, stderr: bool = False) -> Console:
    """Return a console of the terminal's width, or of a fixed one where nobody's terminal sets it."""
    stream = _forgiving(sys.stderr if stderr else sys.stdout)
    return Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH)


def say(text: str) -> None:
    """Print to stdout, whatever its encoding."""
    typer.echo(text, file=_forgiving(sys.stdout))


def _forgiving(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without the arrows shows ? instead of failing
    return stream


def open_scorer(model: str, engine: str, device: str) -> Scorer:
    """Return the scorer that a command's options name."""
    if model == "overlap":
        return OverlapScorer()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when the hub library is imported
    return load_scorer(model, engine=cast(EngineName, engine), device=device)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each piece of work on stderr, where somebody watches."""
    with Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done)

        yield tell

"""The command line: ``demo``, ``rerank`` and ``doctor``."""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secondpass import doctor as doctor_room
from secondpass.demo.run import run_demo
from secondpass.demo.view import PLAIN_WIDTH, RichView
from secondpass.errors import ConfigurationError, SecondpassError
from secondpass.jsonl import rerank_lines
from secondpass.reranker import Reranker
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.protocol import Scorer
from secondpass.scoring.registry import EngineName, load_scorer
from secondpass.selection.budget import ContextBudget
from secondpass.selection.fit import Policy
from secondpass.selection.select import Selection

_BAD_LINES, _CANNOT_RUN = 1, 2
_STYLES = {
    doctor_room.Status.OK: "green",
    doctor_room.Status.OPTIONAL: "dim",
    doctor_room.Status.PROBLEM: "yellow",
    doctor_room.Status.BROKEN: "bold red",
}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class _Files:
    """Where lines come from and go to; None is standard input and output."""

    source: Path | None
    target: Path | None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secondpass {doctor_room.installed_version('secondpass') or 'that is not installed as a package'}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Rerank candidates and trim them to an LLM's context budget: the second pass of retrieval."""


@app.command(short_help="Ask Python's language reference, with real models.")
def demo(
    question: Annotated[str | None, typer.Argument(help="What to ask; without it, five questions are asked.")] = None,
) -> None:
    """Ask Python's language reference, with real models and a real vector store, on this machine.

    The first run fetches 72 MB of weights and embeds the reference; later runs reuse both. SECONDPASS_CACHE names
    another folder to keep them in.
    """
    with _one_line_errors():
        run_demo(question, RichView(_console(), _console(stderr=True)))


@app.command(short_help="Rerank JSON Lines.")
def rerank(
    *,
    model: Annotated[
        str, typer.Option(help="A folder, a hub id, or 'overlap': shared words, a stand-in that needs no model.")
    ],
    source: Annotated[Path | None, typer.Argument(metavar="INPUT", help="JSON Lines; - or nothing: stdin.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the rankings go; stdout without it.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep at most so many.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The context budget, in tokens.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="What happens to a candidate over the budget: fill, prefix or truncate.")
    ] = None,
    min_probability: Annotated[float | None, typer.Option(help="Drop candidates below it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnx or torch.")] = "auto",
    deadline_ms: Annotated[
        float | None, typer.Option(help="Milliseconds for each line; what is unscored by then keeps its first order.")
    ] = None,
) -> None:
    """Rerank JSON Lines: one {"query": ..., "candidates": [...]} a line in, one ranking a line out.

    A candidate is a text, or an object with "text" and, if wanted, "id", "score", "rank", "signals", "source" and
    "prompt_text". A line that can't be read comes out as {"line": n, "error": "..."}, and the exit code is then 1.
    """
    with _one_line_errors():
        selection = _selection(top_k, min_probability, max_tokens, policy)
        files = _files(source, output)
        reranker = Reranker(_scorer(model, engine, device), selection=selection, deadline_ms=deadline_ms)
        bad = _rerank_files(files, reranker)
    if bad:
        typer.echo(f"secondpass: {bad} lines could not be reranked; the output says why", err=True)
        raise typer.Exit(_BAD_LINES)


@app.command(short_help="Say what is installed and what is missing.")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Say what this machine and this installation have, what is missing, and what to do about it."""
    findings = doctor_room.examine()
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        _print_findings(findings)
    if doctor_room.is_broken(findings):
        raise typer.Exit(1)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what secondpass and the file system raise into one line and an exit code; a broken pipe is typer's."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (SecondpassError, OSError) as error:
        typer.echo(f"secondpass: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(_CANNOT_RUN) from error


def _console(*, stderr: bool = False) -> Console:
    """Return a console of the terminal's width, or of a fixed one where nobody's terminal sets it."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal without the arrows shows ? instead of failing
    return Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH)


def _selection(
    top_k: int | None, min_probability: float | None, max_tokens: int | None, policy: str | None
) -> Selection:
    if policy is not None and max_tokens is None:
        raise ConfigurationError(f"--policy {policy} says what happens over the budget: give one with --max-tokens")
    budget = None if max_tokens is None else ContextBudget(max_tokens)
    checked_there = cast(Policy, policy or "fill")
    return Selection(top_k=top_k, min_probability=min_probability, budget=budget, policy=checked_there)


def _scorer(model: str, engine: str, device: str) -> Scorer:
    if model == "overlap":
        return OverlapScorer()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when the hub library is imported
    return load_scorer(model, engine=cast(EngineName, engine), device=device)


def _files(source: Path | None, target: Path | None) -> _Files:
    """Return the files, checked before a model is loaded.

    :raises ConfigurationError: If the output would overwrite the input while it is read.
    """
    source = None if source == Path("-") else source
    target = None if target == Path("-") else target
    if source and not source.is_file():
        raise ConfigurationError(f"INPUT must be a file of JSON Lines, and {source} isn't one")
    if source and target and target.exists() and target.samefile(source):
        raise ConfigurationError(f"--output must be another file than INPUT, got {target} for both")
    return _Files(source, target)


def _rerank_files(files: _Files, reranker: Reranker) -> int:
    """Rerank line by line and return how many lines failed; each is written as soon as it is done."""
    bad = done = 0
    with _reading(files.source) as source, _writing(files.target) as target, _progress(files) as tell:
        for line in rerank_lines(source, reranker):
            target.write(line.encode())
            target.flush()
            done, bad = done + 1, bad + line.failed
            tell(f"reranked {done} lines" + (f", {bad} of them bad" if bad else ""))
    return bad


def _reading(path: Path | None) -> Any:
    return path.open("rb") if path else nullcontext(typer.get_binary_stream("stdin"))


def _writing(path: Path | None) -> Any:
    return path.open("wb") if path else nullcontext(typer.get_binary_stream("stdout"))


@contextmanager
def _progress(files: _Files) -> Iterator[Any]:
    """Show progress where somebody watches, and the rankings don't go to the same terminal."""
    if not sys.stderr.isatty() or (files.target is None and sys.stdout.isatty()):
        yield lambda _text: None
        return
    with _console(stderr=True).status("reranking") as status:
        yield status.update


def _print_findings(findings: tuple[doctor_room.Finding, ...]) -> None:
    console = _console()
    for area in dict.fromkeys(finding.area for finding in findings):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(min_width=16, style="bold")
        table.add_column(min_width=8)
        table.add_column(overflow="fold")
        for finding in (item for item in findings if item.area == area):
            status = Text(finding.status, _STYLES[finding.status])
            advice = f"\n-> {finding.advice}" if finding.advice else ""
            table.add_row(Text(finding.name), status, Text(finding.value + advice))
        console.print(Text(area, style="bold underline"), table, "", sep="\n")
    verdict = "the base install is broken" if doctor_room.is_broken(findings) else "the base install works"
    console.print(Text(verdict, style="bold"))

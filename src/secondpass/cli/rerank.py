"""``secondpass rerank``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from secondpass.cli.app import app, console, one_line_errors, open_scorer
from secondpass.errors import ConfigurationError
from secondpass.jsonl import rerank_lines
from secondpass.reranker import Reranker
from secondpass.selection.budget import ContextBudget
from secondpass.selection.packing import Policy
from secondpass.selection.select import Selection

_BAD_LINES = 1


@dataclass(frozen=True, slots=True)
class _Files:
    """Where lines come from and go to; None is standard input and output."""

    source: Path | None
    target: Path | None


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
    with one_line_errors():
        selection = _selection(top_k, min_probability, max_tokens, policy)
        files = _files(source, output)
        reranker = Reranker(open_scorer(model, engine, device), selection=selection, deadline_ms=deadline_ms)
        bad = _rerank_files(files, reranker)
    if bad:
        typer.echo(f"secondpass: {bad} lines could not be reranked; the output says why", err=True)
        raise typer.Exit(_BAD_LINES)


def _selection(
    top_k: int | None, min_probability: float | None, max_tokens: int | None, policy: str | None
) -> Selection:
    if policy is not None and max_tokens is None:
        raise ConfigurationError(f"--policy {policy} says what happens over the budget: give one with --max-tokens")
    budget = None if max_tokens is None else ContextBudget(max_tokens)
    checked_there = cast(Policy, policy or "fill")
    return Selection(top_k=top_k, min_probability=min_probability, budget=budget, policy=checked_there)


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
    with console(stderr=True).status("reranking") as status:
        yield status.update

"""``secondpass rerank``: reranks JSON Lines, a query with its candidates on each line, one line at a time."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from secondpass.cli.app import app, console, one_line_errors
from secondpass.cli.settings import (
    ConfigFile,
    Device,
    Engine,
    MaxTokens,
    Model,
    TopN,
    check_output,
    command_config,
    open_reranker,
)
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.jsonl import query_and_candidates, read_object
from secondpass.ranking import Ranking
from secondpass.records import Candidate
from secondpass.report.html import as_document, write
from secondpass.reranker import Reranker

_BAD_LINES = 1
_OURS = "secondpass"  # the key of the rankings, apart from the keys of the lines
_REPORTED = 100  # queries that an HTML page holds
STREAM = Path("-")


@app.command(short_help="Rerank JSON Lines.")
def rerank(
    *,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="JSON Lines; - or nothing: stdin.")] = STREAM,
    output: Annotated[Path, typer.Option(help="Where the rankings go; - or nothing: stdout.")] = STREAM,
    report: Annotated[
        Path | None,
        typer.Option(help=f"Write an HTML page: what was kept and dropped ({_REPORTED} queries)."),
    ] = None,
    config: ConfigFile = None,
    model: Model = None,
    top_n: TopN = None,
    min_probability: Annotated[float | None, typer.Option(help="Drop candidates below it.")] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="exact (the default) drops texts that were kept already; near, keep.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="The order of the kept: relevance (the default), original or ends.")
    ] = None,
    max_tokens: MaxTokens = None,
    policy: Annotated[
        str | None, typer.Option(help="How the budget is filled: fill, prefix, truncate or extract.")
    ] = None,
    counter: Annotated[
        str | None, typer.Option(help="What counts the budget's tokens: estimate, or the path of a tokenizer.json.")
    ] = None,
    device: Device = None,
    engine: Engine = None,
    deadline_ms: Annotated[
        float | None, typer.Option(help="Milliseconds for each line; what is unscored by then keeps its first order.")
    ] = None,
) -> None:
    """Rerank JSON Lines: one {"query": ..., "candidates": [...]} a line in, one ranking a line out.

    A candidate is a text, or an object with "text" and, if wanted, "id", "score", "rank", "signals", "source" and
    "prompt_text". All other keys of a line come out again, and its ranking under "secondpass"; there a line that can't
    be read has {"line": n, "error": "..."}. The exit code is 1 if a line couldn't be read, or was degraded to its first
    order.
    """
    with one_line_errors():
        settings = command_config(
            config,
            model={"name": model, "engine": engine, "device": device},
            selection={
                "top_n": top_n,
                "min_probability": min_probability,
                "policy": policy,
                "duplicates": duplicates,
                "order": order,
            },
            max_tokens=max_tokens,
            counter=counter,
            deadline_ms=deadline_ms,
        )
        _check_files(source, output, report)
        wanted = _REPORTED if report else 0
        bad, degraded, rankings = _rerank_file(source, output, open_reranker(settings), wanted)
        if report:
            _write_report(rankings, report)
    for count, what in ((bad, "could not be reranked"), (degraded, "were degraded to the first stage's order")):
        if count:
            typer.echo(f"secondpass: {count} lines {what}; the output says why", err=True)
    if bad or degraded:
        raise typer.Exit(_BAD_LINES)


def rerank_lines(lines: Iterable[bytes], reranker: Reranker) -> Iterator[tuple[dict[str, Any], Ranking | None]]:
    """Yield each line's output and its ranking; or the output with the line's number and error, and None.

    :param lines: JSON objects with ``query`` and ``candidates``, whose other keys come out again beside ``secondpass``;
        blank lines don't.
    :param reranker: What ranks them.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        others: dict[str, Any] = {}
        try:
            content = read_object(line)
            others = {name: value for name, value in content.items() if name not in {"query", "candidates"}}
            query, candidates = _request(content)
            ranking = reranker.rerank(query, candidates)
            yield others | {_OURS: ranking.to_dict()}, ranking
        except (InputError, ScoringError) as error:
            yield others | {_OURS: {"line": number, "error": str(error)}}, None


def _request(content: Mapping[str, Any]) -> tuple[str, list[Candidate]]:
    if _OURS in content:
        raise InputError(f"the key {_OURS!r} is the output's: give the line's own another name")
    return query_and_candidates(content)


def _check_files(source: Path, target: Path, report: Path | None) -> None:
    """Check the files before a model is loaded.

    :raises ConfigurationError: If there is no input, or a file is given twice.
    """
    check_output("--report", report)
    if report and report.absolute() == target.absolute():
        raise ConfigurationError(f"--report and --output must be two files, got {report} for both")
    if source == STREAM:
        return
    if not source.is_file():
        raise ConfigurationError(f"INPUT must be a file of JSON Lines, and {source} isn't one")
    for option, path in (("--output", target), ("--report", report)):
        if path and path.exists() and path.samefile(source):
            raise ConfigurationError(f"{option} must be another file than INPUT, got {path} for both")


def _rerank_file(source: Path, target: Path, reranker: Reranker, reported: int) -> tuple[int, int, list[Ranking]]:
    """Rerank line by line, each written when done; return how many failed, how many were degraded, and rankings."""
    bad, degraded, rankings = 0, 0, list[Ranking]()
    with _open(source, "rb", "stdin") as lines, _open(target, "wb", "stdout") as output, _progress(target) as report:
        for done, (content, ranking) in enumerate(rerank_lines(lines, reranker), start=1):
            text = json.dumps(content, ensure_ascii=False) + "\n"
            output.write(text.encode("utf-8", "backslashreplace"))  # lone surrogates stay escapes
            output.flush()
            bad += ranking is None
            degraded += ranking is not None and ranking.degraded is not None
            if ranking is not None and len(rankings) < reported:
                rankings.append(ranking)
            report(f"reranked {done} lines" + (f", {bad} of them bad" if bad else ""))
    return bad, degraded, rankings


def _write_report(rankings: Sequence[Ranking], path: Path) -> None:
    """Write the HTML page.

    :raises InputError: If there is no ranking.
    """
    if not rankings:
        raise InputError("INPUT must have a line that can be reranked, for --report, and has none")
    write(as_document(*rankings), path)


def _open(path: Path, mode: str, stream: Literal["stdin", "stdout"]) -> Any:
    return nullcontext(typer.get_binary_stream(stream)) if path == STREAM else path.open(mode)


@contextmanager
def _progress(target: Path) -> Iterator[Callable[[str], None]]:
    """Show progress where stderr is a terminal, and the rankings don't go to the same one."""
    if not sys.stderr.isatty() or (target == STREAM and sys.stdout.isatty()):
        yield lambda _text: None
        return
    with console(stderr=True).status("reranking") as status:
        yield status.update

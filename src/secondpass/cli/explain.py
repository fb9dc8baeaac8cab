"""``secondpass explain``: an HTML report of one reranked query."""

import json
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from secondpass.cli.app import app, bars, one_line_errors, say
from secondpass.cli.rerank import STREAM
from secondpass.cli.settings import ConfigFile, MaxTokens, Model, TopK, command_config, open_reranker
from secondpass.errors import ConfigurationError, InputError
from secondpass.jsonl import query_and_candidates, read_object


@app.command(short_help="Write an HTML report of a reranked query.")
def explain(
    *,
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="JSON Lines as `rerank` takes them; - or nothing: stdin.")
    ] = STREAM,
    output: Annotated[Path, typer.Option(help="The report's file.")] = Path("secondpass.html"),
    line: Annotated[int, typer.Option(help="Which line of INPUT, counted from 1.")] = 1,
    config: ConfigFile = None,
    model: Model = None,
    top_k: TopK = None,
    max_tokens: MaxTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file and the counts as JSON.")] = False,
) -> None:
    """Rerank one line of JSON Lines, and write a report that shows what was kept, what was dropped, and why.

    The report is one HTML file without scripts and external files.
    """
    with one_line_errors():
        settings = command_config(config, model={"name": model}, selection={"top_k": top_k}, max_tokens=max_tokens)
        if not output.absolute().parent.is_dir() or output.is_dir():
            raise ConfigurationError(f"--output must name a file in a folder that is there, got {output}")
        query, candidates = query_and_candidates(read_object(_line(source, line)))
        with bars() as report:
            report("reranking", 0, None)
            ranking = open_reranker(settings).rerank(query, candidates)
        ranking.to_html(output)
    degraded = str(ranking.degraded) if ranking.degraded else None
    answer = {"report": str(output), "kept": len(ranking.kept), "dropped": len(ranking.dropped), "degraded": degraded}
    if as_json:
        say(json.dumps(answer, ensure_ascii=False))
        return
    say(f"kept {answer['kept']}, dropped {answer['dropped']}: the report is in {output}")
    if degraded:
        typer.echo(f"secondpass: the call is degraded, {degraded}", err=True)


def _line(source: Path, number: int) -> bytes:
    """Return one line of the input.

    :raises ConfigurationError: If there is no such file or line.
    """
    if number < 1:
        raise ConfigurationError(f"--line must be 1 or more, got {number}")
    if source != STREAM and not source.is_file():
        raise ConfigurationError(f"INPUT must be a file of JSON Lines, and {source} isn't one")
    opened: Any = nullcontext(typer.get_binary_stream("stdin")) if source == STREAM else source.open("rb")
    with opened as lines:
        text: bytes = next(islice(lines, number - 1, None), b"")
    if not text.strip():
        raise InputError(f"INPUT must have a query in line {number}, and that is empty, or there is none")
    return text

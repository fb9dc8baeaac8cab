"""``secondpass evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from secondpass.cli.app import app, bars, one_line_errors, open_scorer, say


@app.command(short_help="Measure what a second pass gains, and what it costs.")
def evaluate(
    *,
    model: Annotated[list[str], typer.Option(help="A folder, a hub id, or 'overlap'; several are compared.")],
    beir: Annotated[Path | None, typer.Option(help="A folder in BEIR's form; BM25 is the first stage.")] = None,
    split: Annotated[str, typer.Option(help="Whose judgements of it to take.")] = "test",
    squad: Annotated[Path | None, typer.Option(help="A JSON file in SQuAD's form; BM25 is the first stage.")] = None,
    run: Annotated[Path | None, typer.Option(help="A TREC run, or JSON with queries and hits.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="The run's judgements.")] = None,
    queries: Annotated[Path | None, typer.Option(help="The run's questions: id, tab, text; or JSON Lines.")] = None,
    texts: Annotated[Path | None, typer.Option(help="The run's texts, in the same forms.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help="nDCG@10, RR@10, R@100, 'AP(rel=2)' ...")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates for each query.")] = 100,
    depths: Annotated[str, typer.Option(help="The depth curve's points; '' for none.")] = "10,20,50,100,200",
    timed: Annotated[int, typer.Option(help="Queries whose milliseconds are measured at each depth.")] = 10,
    budgets: Annotated[str, typer.Option(help="Context budgets in tokens; '' for none.")] = "128,256,512,1024,2048",
    relevant_from: Annotated[int, typer.Option(help="The lowest grade of a relevant item in the context.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first so many queries.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write everything, as data.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables; they are printed without it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, onnx or torch.")] = "auto",
) -> None:
    """Measure one or more models on judged questions: quality, cost, depth, and answers in the context.

    Everything is told without and with the second pass, with intervals and a paired test.
    """
    with one_line_errors():
        from secondpass import evaluation as room
        from secondpass.evaluation import command

        settings = room.Settings(
            depths=command.whole_numbers("--depths", depths),
            budgets=command.whole_numbers("--budgets", budgets),
            timed=timed,
            relevant_from=relevant_from,
        )
        targets = command.Targets(json_, markdown)
        collection = command.Sources(beir, split, squad, run, qrels, queries, texts, candidates, limit).read()
        scorers = [open_scorer(name, engine, device) for name in model]
        with bars() as tell:
            found = room.evaluate(
                scorers, collection, measures=measure or room.DEFAULT_MEASURES, settings=settings, progress=tell
            )
        targets.write(found)
        for system in found.systems:
            if not system.passes.whole:
                typer.echo(f"secondpass: {system.name}: {system.passes.trouble()}", err=True)
        if markdown is None:
            say(found.to_markdown())

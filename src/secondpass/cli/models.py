"""``secondpass models``: the models that are on this machine, and what each costs here."""

import importlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from secondpass.cli.app import app, bars, console, one_line_errors, say
from secondpass.cli.ask.passages import python_reference
from secondpass.errors import SecondpassError
from secondpass.models import CASCADES, DEFAULT_MODEL, bundled_models, supported
from secondpass.scores import Pair
from secondpass.scoring.load import load_scorer

_QUESTION = "what happens when an exception is raised inside a finally block?"
_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs on this machine.

    :param load_ms: Milliseconds until it can score.
    :param rerank_ms: Milliseconds for a question with a number of candidates.
    :param candidates: That number.
    """

    load_ms: float
    rerank_ms: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model that ``load_scorer`` opens without a connection.

    :param name: Its name for ``load_scorer``.
    :param kind: ``bundled``, ``cascade`` or ``hub cache``.
    :param megabytes: The size of its files.
    :param folder: Where they are; a cascade has none of its own.
    :param files: Their names with their bytes.
    :param here: Engine, device and form on this machine, where it was opened; or why it can't be.
    :param cost: What it costs, where that was measured.
    """

    name: str
    kind: str
    megabytes: float
    folder: str
    files: Mapping[str, int]
    here: str = ""
    cost: Cost | None = None


@app.command(short_help="List the models on this machine, and what they cost.")
def models(
    *,
    measure: Annotated[
        bool, typer.Option(help="Open the bundled models, and time a question with 100 candidates.")
    ] = True,
    families: Annotated[
        bool, typer.Option("--families", help="List the model families instead: what works, and how it was verified.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models on this machine: bundled ones, their cascades, and the hub library's cache.

    Of the bundled ones it says which engine and form runs here, and times one question with 100 passages of Python's
    language reference, after a warm-up. Nothing is fetched.
    """
    if families:
        _print_families(as_json=as_json)
        return
    listed = [*bundled(), *hub_cached()]
    with one_line_errors(), bars() as report:
        for place, model in enumerate(listed):
            if measure and model.kind != "hub cache":
                report(f"measuring {model.name}", 0, None)
                listed[place] = measured(model)
    if as_json:
        say(json.dumps([asdict(model) for model in listed], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("model", "kind", "MB", "load ms", f"ms for {_CANDIDATES}", "here"):
        table.add_column(column, overflow="fold", justify="left" if column in {"model", "kind", "here"} else "right")
    for model in listed:
        cost = (f"{model.cost.load_ms:.0f}", f"{model.cost.rerank_ms:.0f}") if model.cost else ("-", "-")
        name = f"{model.name} (default)" if model.name == DEFAULT_MODEL else model.name
        table.add_row(*map(Text, (name, model.kind, f"{model.megabytes:.0f}", *cost, model.here or model.folder)))
    console().print(table)


def _print_families(*, as_json: bool) -> None:
    """Print the table of model families, the unsupported ones with the reason."""
    if as_json:
        say(json.dumps([asdict(family) for family in supported()], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("family", "models", "status", "engines", "int8", "tokens", "licence"):
        table.add_column(column, overflow="fold")
    for family in supported():
        works = f"{family.status}: {family.note}" if family.note else str(family.status)
        int8 = "yes" if family.int8 else "no"
        cells = (family.name, ", ".join(family.models), works, ", ".join(family.engines), int8, str(family.max_tokens))
        table.add_row(*map(Text, (*cells, family.licence)))
    console().print(table)


def bundled() -> Iterator[Model]:
    """Yield the bundled models, and their cascades with the files of both."""
    folders = {name: _files(folder) for name, folder in bundled_models().items()}
    for name, files in folders.items():
        yield Model(name, "bundled", sum(files.values()) / 1e6, str(bundled_models()[name]), files)
    for name, (cheap, precise, keep, _) in CASCADES.items():
        size = sum(sum(folders[part].values()) for part in (cheap, precise)) / 1e6
        yield Model(name, "cascade", size, f"{cheap} reads all, {precise} the best {keep}", {})


def hub_cached() -> list[Model]:
    """Return the models in the hub library's cache, the largest first; none where it can't be read."""
    try:
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
    except (ImportError, OSError):
        return []
    try:
        repositories = hub.scan_cache_dir(hub.constants.HF_HUB_CACHE).repos
    except (errors.CacheNotFound, OSError, ValueError):
        return []
    found = sorted((item for item in repositories if item.repo_type == "model"), key=lambda item: -item.size_on_disk)
    return [
        Model(
            item.repo_id,
            "hub cache",
            item.size_on_disk / 1e6,
            str(item.repo_path),
            {file.file_name: file.size_on_disk for revision in item.revisions for file in revision.files},
        )
        for item in found
    ]


def measured(model: Model) -> Model:
    """Return a model with what opening it and reranking by it takes, or with why it can't be opened."""
    passages = islice(python_reference().values(), _CANDIDATES)
    pairs = [Pair(_QUESTION, passage) for passage in passages]
    started = time.perf_counter()
    try:
        scorer = load_scorer(model.name)
        loaded = time.perf_counter()
        scorer.warmup()
        warm = time.perf_counter()
        scorer.score_pairs(pairs)
    except (SecondpassError, ImportError, OSError) as error:
        return replace(model, here=f"can't be opened: {error!s:.200}")
    cost = Cost(1000 * (loaded - started), 1000 * (time.perf_counter() - warm), len(pairs))
    return replace(model, here=repr(scorer), cost=cost)


def _files(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}

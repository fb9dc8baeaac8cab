"""The reranker of a command: what a configuration file states, changed by the options given."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from secondpass.config import BudgetTable, Config, read_config
from secondpass.errors import ConfigurationError
from secondpass.reranker import Reranker
from secondpass.scoring.scorer import Scorer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with the settings; options given here replace its own.")
]
Model = Annotated[
    str | None,
    typer.Option(help="small (the default), nano, fast, a folder, a hub id, or 'overlap': shared words, no model."),
]
TopN = Annotated[int | None, typer.Option(help="The maximum number of candidates kept.")]
Device = Annotated[str | None, typer.Option(help="auto (the default), cpu, cuda, cuda:N or mps.")]
Engine = Annotated[str | None, typer.Option(help="auto (the default), onnx or torch.")]
MaxTokens = Annotated[int | None, typer.Option(help="The context budget, in tokens.")]


def command_config(
    path: Path | None,
    *,
    model: Mapping[str, object],
    selection: Mapping[str, object],
    max_tokens: int | None = None,
    counter: str | None = None,
    deadline_ms: float | None = None,
) -> Config:
    """Return the settings of a command.

    :param path: The configuration file; None for the defaults.
    :param model: Options that replace keys of ``[model]``, where they aren't None.
    :param selection: Options that replace keys of ``[selection]``, in the same way.
    :param max_tokens: Replaces the budget's limit.
    :param counter: Replaces its tokenizer; ``estimate`` is none.
    :param deadline_ms: Replaces the deadline.
    :raises ConfigurationError: If the file or an option is wrong.
    """
    config = read_config(path) if path else Config()
    name = model.get("name")
    if isinstance(name, str) and name.startswith("."):  # of an option, relative to the current folder
        model = {**model, "name": str(Path(name).absolute())}
    budget = config.budget
    if max_tokens is not None:
        budget = replace(budget, max_tokens=max_tokens) if budget else BudgetTable(max_tokens)
    if budget is None and (counter or selection.get("policy")):
        raise ConfigurationError("--policy and --counter are about the context budget: give one with --max-tokens")
    if budget is not None and counter is not None:
        budget = replace(budget, tokenizer=None if counter == "estimate" else str(Path(counter).absolute()))
    return replace(
        config,
        model=replace(config.model, **_given(model)),
        selection=replace(config.selection, **_given(selection)),
        budget=budget,
        deadline_ms=config.deadline_ms if deadline_ms is None else deadline_ms,
    )


def open_reranker(config: Config) -> Reranker:
    """Return the reranker, its models loaded.

    :raises ConfigurationError: If a setting is out of its range, or a model can't be loaded.
    """
    _quiet_hub()
    return config.reranker()


def open_scorer(model: str, engine: str | None, device: str | None) -> Scorer:
    """Return the scorer that options name.

    :raises ConfigurationError: If it can't be loaded.
    """
    _quiet_hub()
    named = {"name": model, "engine": engine, "device": device}
    return command_config(None, model=named, selection={}).scorer()


def _quiet_hub() -> None:
    """Have the hub library, which reads this at import, show no bars where stderr is no terminal."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def check_output(option: str, path: Path | None) -> None:
    """Check an option's file beforehand: an hour of scoring should not end at a misspelt name.

    :raises ConfigurationError: If it isn't a file, or its folder isn't there.
    """
    if path and (not path.absolute().parent.is_dir() or path.is_dir()):
        raise ConfigurationError(f"{option} must name a file in a folder that is there, got {path}")


def _given(options: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}

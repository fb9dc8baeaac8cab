"""``secondpass optimize``: the command line of ``secondpass.optimize``."""

import random
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer

from secondpass.cli.app import app, one_line_errors, say
from secondpass.cli.ask.passages import python_reference
from secondpass.errors import ConfigurationError, InputError, LossTooHigh
from secondpass.jsonl import read_objects
from secondpass.records import Pair
from secondpass.text import sentence_ends

_QUESTIONS, _TEXTS = 80, 5  # of the bundled pairs


@app.command(short_help="Export a cross-encoder as ONNX, float32 or int8, and verify it.")
def optimize(
    model: Annotated[str, typer.Argument(help="A folder or a hub id, with safetensors weights.")],
    *,
    out: Annotated[Path, typer.Option(help="A new or an empty folder.")],
    forms: Annotated[str, typer.Option(help="int8, float32, or both with a comma between.")] = "float32,int8",
    calibration: Annotated[
        Path | None,
        typer.Option(help="JSON Lines with query and texts, like those to be scored; by default Python's docs."),
    ] = None,
) -> None:
    """Export a cross-encoder as ONNX, and measure what that changes; ``load_scorer`` and --model open the folder.

    Several forms are written side by side; opening the folder takes the fastest for the machine. A form that loses too
    much is refused with its figures, and nothing is written.
    """
    with one_line_errors():
        from secondpass import optimize as package

        wanted = tuple(form.strip() for form in forms.split(",") if form.strip())
        pairs = read_pairs(calibration) if calibration else reference_pairs()
        try:
            report = package.optimize(model, out, calibration=pairs, forms=cast("tuple[package.Form, ...]", wanted))
        except LossTooHigh as error:
            raise ConfigurationError(f"{error}. Calibrate on pairs like yours, or take --forms float32") from error
        say(f"{report}\nload it with load_scorer({str(out)!r})")


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from JSON Lines: ``{"query": "...", "texts": ["...", ...]}``.

    :raises InputError: If a line is something else, or there is none.
    """
    pairs = []
    for where, entry in read_objects(path):
        query, texts = entry.get("query"), entry.get("texts")
        if not isinstance(query, str) or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise InputError(f'{where}: "query" must be a string and "texts" a list of strings, got {entry!r:.80}')
        pairs += [Pair(query, text) for text in texts]
    if not pairs:
        raise InputError(f"{path} must have at least one line with query and texts, and has none")
    return pairs


def reference_pairs(questions: int = _QUESTIONS, texts: int = _TEXTS) -> list[Pair]:
    """Return pairs from Python's language reference: first sentences, each with its own passage and others.

    They cover all lengths; for texts of another language or kind, calibrate on those.
    """
    chance = random.Random(0)
    passages = list(python_reference().values())
    long = " ".join(passages).split()
    pairs = []
    for own in islice(chance.sample(passages, len(passages)), questions):
        query = " ".join(own[: next(iter(sentence_ends(own)), 200)].split())[:200]
        start, words = chance.randrange(len(long) - 400), chance.randrange(10, 350)
        others = [*chance.sample(passages, texts - 2), " ".join(long[start : start + words])]
        pairs += [Pair(query, text) for text in (own, *others)]
    return pairs

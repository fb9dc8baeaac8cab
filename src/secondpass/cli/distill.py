"""``secondpass distill``: the command line of ``secondpass.training.distill``."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from secondpass.cli.app import app, one_line_errors, say
from secondpass.errors import ConfigurationError


@app.command(short_help="Train a smaller cross-encoder to score as a larger one does.")
def distill(
    *,
    teacher: Annotated[str, typer.Argument(help="A folder or a hub id.")],
    train: Annotated[Path, typer.Option(help="JSON Lines with query, texts and optional labels; CSV or TSV.")],
    out: Annotated[Path, typer.Option(help="The folder for checkpoints and, at the end, the student.")],
    validation: Annotated[Path | None, typer.Option(help="The same with other questions.")] = None,
    held_out: Annotated[float, typer.Option(help="Without --validation, the share of questions to hold back.")] = 0.1,
    base: Annotated[str | None, typer.Option(help="The model to start from; by default the teacher.")] = None,
    layers: Annotated[str, typer.Option(help="The base's layers to keep, from 0, such as 1,3,5; by default all.")] = "",
    objective: Annotated[str, typer.Option(help="mse or margin-mse.")] = "mse",
    hidden_weight: Annotated[float, typer.Option(help="Weight of matched hidden states; 0 for none.")] = 20.0,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(help="The peak learning rate.")] = 2e-4,
    batch_size: Annotated[int, typer.Option(help="Texts in a batch.")] = 8,
    evaluate_every: Annotated[float, typer.Option(help="Steps between evaluations, or a share of all steps.")] = 0.1,
    max_length: Annotated[int | None, typer.Option(help="The longest pair in tokens; longer ones are cut.")] = None,
    seed: Annotated[int, typer.Option(help="The random seed.")] = 13,
    name: Annotated[str | None, typer.Option(help="The student's name on its card.")] = None,
    license_: Annotated[str, typer.Option("--license", help="Its licence, as the hub writes it.")] = "other",
) -> None:
    """Train a smaller cross-encoder to score as a larger one does, and write a folder that --model takes.

    Each line of the data is {"query": "...", "texts": ["...", ...]}, with "labels" where there are judgements. A run
    that was killed resumes from its last evaluation when the same command is given again.
    """
    with one_line_errors():
        from secondpass import training

        settings = training.DistillSettings(
            base=base,
            layers=_numbers(layers),
            objective=cast(Any, objective),
            hidden_weight=hidden_weight,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            evaluate_every=evaluate_every,
            max_length=max_length,
            seed=seed,
        )
        examples = training.read_table(train)
        to_judge = training.read_table(validation) if validation else held_out
        about = training.About(name, license_)
        report = training.distill(teacher, examples, out, validation=to_judge, settings=settings, about=about)
        say(str(report))


def _numbers(layers: str) -> tuple[int, ...] | None:
    """Parse the numbers of layers; None where there are none.

    :raises ConfigurationError: If one isn't a whole number.
    """
    try:
        return tuple(int(number) for number in layers.replace(",", " ").split()) or None
    except ValueError as error:
        raise ConfigurationError(f"--layers must be whole numbers with commas between, got {layers!r}") from error

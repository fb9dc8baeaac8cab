"""``secondpass distill``: the command line of ``secondpass.training.distill``."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from secondpass.cli.app import app, one_line_errors
from secondpass.errors import ConfigurationError


@app.command(short_help="Train a smaller cross-encoder to score as a larger one does.")
def distill(
    *,
    teacher: Annotated[str, typer.Argument(help="A folder or a hub id.")],
    train: Annotated[Path, typer.Option(help="JSON Lines with query, texts and optional labels.")],
    validation: Annotated[Path, typer.Option(help="The same with other questions.")],
    out: Annotated[Path, typer.Option(help="The folder for checkpoints and, at the end, the student.")],
    base: Annotated[str | None, typer.Option(help="The model to start from; by default the teacher.")] = None,
    layers: Annotated[str, typer.Option(help="The base's layers to keep, from 0, such as 1,3,5; by default all.")] = "",
    match: Annotated[str, typer.Option(help="The teacher's layers to learn from; by default evenly spread.")] = "",
    objective: Annotated[str, typer.Option(help="mse or margin-mse.")] = "mse",
    hidden_weight: Annotated[float, typer.Option(help="Weight of matched hidden states; 0 for none.")] = 1.0,
    score_weight: Annotated[float, typer.Option(help="Weight of the score objective.")] = 0.05,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(help="The peak learning rate.")] = 2e-4,
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens in a batch.")] = 2048,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations and checkpoints.")] = 500,
    max_length: Annotated[int | None, typer.Option(help="The longest pair in tokens.")] = None,
    truncate: Annotated[bool, typer.Option("--truncate", help="Truncate longer pairs; by default an error.")] = False,
    seed: Annotated[int, typer.Option(help="The random seed.")] = 13,
    scores: Annotated[Path | None, typer.Option(help="A file of teacher scores to share between runs.")] = None,
    name: Annotated[str | None, typer.Option(help="The student's name on its card.")] = None,
    license_: Annotated[str, typer.Option("--license", help="Its licence, as the hub writes it.")] = "other",
) -> None:
    """Train a smaller cross-encoder to score as a larger one does, and write a folder that --model takes.

    Each line of the data is {"query": "...", "texts": ["...", ...]}, with "labels" where there are judgements. A run
    that was killed resumes from its last evaluation when the same command is given again.
    """
    with one_line_errors():
        from secondpass import training

        student = training.Student(base, _numbers("--layers", layers), _numbers("--match", match))
        settings = training.DistillSettings(
            objective=cast(Any, objective),
            hidden_weight=hidden_weight,
            score_weight=score_weight,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_tokens=batch_tokens,
            evaluate_every=evaluate_every,
            max_length=max_length,
            truncate=truncate,
            seed=seed,
        )
        data = training.TrainingData(training.read_groups(train), training.read_groups(validation))
        about = training.About(name, license_)
        report = training.distill(teacher, data, out, student=student, settings=settings, about=about, scores=scores)
    for measure, value in report.measures.items():
        typer.echo(f"{measure} {value:.4f} (the teacher: {report.teacher_measures[measure]:.4f})")
    typer.echo(report.refused or f"int8: {report.folder / 'onnx'}")


def _numbers(option: str, given: str) -> tuple[int, ...] | None:
    """Parse the numbers of layers; None where there are none.

    :raises ConfigurationError: If one isn't a whole number.
    """
    try:
        return tuple(int(number) for number in given.replace(",", " ").split()) or None
    except ValueError as error:
        raise ConfigurationError(f"{option} must be whole numbers with commas between, got {given!r}") from error

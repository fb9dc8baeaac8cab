"""``secondpass finetune``: the command line of ``secondpass.training.finetune``."""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from secondpass.cli.app import app, one_line_errors, say
from secondpass.scorers.load import load_scorer
from secondpass.scoring.scorer import Scorer

if TYPE_CHECKING:
    from secondpass.training import Examples


@app.command(short_help="Train a cross-encoder on your own labelled data.")
def finetune(
    *,
    model: Annotated[str, typer.Argument(help="A folder or a hub id, with safetensors weights.")],
    train: Annotated[Path, typer.Option(help="CSV, TSV or JSON Lines; the columns decide what is learned.")],
    out: Annotated[Path, typer.Option(help="The folder for checkpoints and, at the end, the model.")],
    validation: Annotated[Path | None, typer.Option(help="The same with other questions.")] = None,
    held_out: Annotated[float, typer.Option(help="Without --validation, the share of questions to hold back.")] = 0.1,
    loss: Annotated[str, typer.Option(help="auto, or a loss that fits the data.")] = "auto",
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 2.0,
    learning_rate: Annotated[float, typer.Option(help="The peak learning rate.")] = 5e-5,
    batch_size: Annotated[int, typer.Option(help="Texts in a batch.")] = 8,
    evaluate_every: Annotated[float, typer.Option(help="Steps between evaluations, or a share of all steps.")] = 0.1,
    patience: Annotated[int, typer.Option(help="Evaluations without a gain after which it ends; 0 for never.")] = 4,
    max_length: Annotated[int | None, typer.Option(help="The longest pair in tokens; longer ones are cut.")] = None,
    seed: Annotated[int, typer.Option(help="The random seed.")] = 13,
    mine: Annotated[int, typer.Option(help="The number of hard negatives mined with BM25 for each question.")] = 0,
    corpus: Annotated[Path | None, typer.Option(help="Texts to mine in; by default those of --train.")] = None,
    guard: Annotated[str, typer.Option(help="A model that keeps relevant texts out of the negatives; '' none.")] = (
        "small"
    ),
    margin: Annotated[float, typer.Option(help="How far below the positives, in its raw scores, they must be.")] = 1.0,
    name: Annotated[str | None, typer.Option(help="The model's name on its card.")] = None,
    license_: Annotated[str, typer.Option("--license", help="Its licence, as the hub writes it.")] = "other",
) -> None:
    """Train a cross-encoder on labelled data, and write a folder that --model takes.

    Columns are query, text and label (0 and 1, or other numbers); query, positive and negative; or in JSON
    Lines query, texts and labels. A run that was killed resumes when the same command is given again.
    """
    with one_line_errors():
        from secondpass import training

        settings = training.FinetuneSettings(
            loss=cast(Any, loss),
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            evaluate_every=evaluate_every,
            patience=patience or None,
            max_length=max_length,
            seed=seed,
        )
        examples = training.read_table(train)
        to_judge = training.read_table(validation) if validation else held_out
        if mine:
            texts = training.read_texts(corpus) if corpus else [pair.text for pair in examples.pairs]
            teacher = load_scorer(guard, max_length=max_length) if guard else None
            add = partial(_mined, texts=texts, negatives=mine, guard=teacher, margin=margin)
            examples = add(examples)
            to_judge = to_judge if isinstance(to_judge, float) else add(to_judge)
        report = training.finetune(
            model, examples, out, validation=to_judge, settings=settings, about=training.About(name, license_)
        )
        say(str(report))


def _mined(
    examples: "Examples", *, texts: Iterable[str], negatives: int, guard: Scorer | None, margin: float
) -> "Examples":
    """Return examples with negatives that BM25 found, and print how many."""
    from secondpass.evaluation import Bm25Index
    from secondpass.training import mine_negatives

    index = Bm25Index({str(number): text for number, text in enumerate(dict.fromkeys(texts))})
    mined = mine_negatives(
        examples, index.search, guard=guard, margin=margin, negatives=negatives, progress=sys.stderr.isatty()
    )
    say(str(mined))
    return mined.examples

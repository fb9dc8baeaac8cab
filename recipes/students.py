"""The bundled models: mini, six layers of the teacher, and nano, three of mini.

usage: python -m recipes.students --corpus FOLDER ... --teacher FOLDER_OR_HUB_ID --out FOLDER [--only NAME] [--epochs N]

Each is left in a folder of its own under ``--out``, with its card and manifest. A run that was killed goes on from its
last evaluation when the same command is given again. On two cores they were made by two processes:
``torchrun --nproc-per-node 2 -m recipes.students ...`` with ``OMP_NUM_THREADS=1``.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from secondpass.training import About, DistillSettings, Student, TrainingData, distill, read_groups
from secondpass.training.run_folder import MANIFEST

_NOTES = """\
Made for reranking what a retriever found, in English. It learned from the teacher's scores and hidden states on free
text alone: abstracts, encyclopedia paragraphs, documentation and dictionaries, with questions made from them and
people's own (SciFact's training claims, and questions on 24 of XQuAD's articles). No question of the collections that
judge it was among them, and no passage of TREC DL; SciFact's abstracts were.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one of the bundled models is made.

    :param student: What it starts from; a base that is another recipe's name means what that one left.
    :param settings: How it is taught.
    """

    student: Student
    settings: DistillSettings


_SETTINGS = DistillSettings(
    learning_rate=3e-4, batch_tokens=1024, evaluate_every=500, max_length=256, truncate=True
)  # for two processes: 2,048 tokens a step
RECIPES = {
    "mini": Recipe(Student(layers=(1, 3, 5, 7, 9, 11)), replace(_SETTINGS, epochs=0.16)),
    "nano": Recipe(Student(base="mini", layers=(1, 3, 5), match=(3, 7, 11)), replace(_SETTINGS, epochs=0.16)),
}
_JUDGES = 6  # every sixth validation group: the order of the sources is kept, and an evaluation stays short


def main() -> None:
    """Read the command line, and make the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    more = "what recipes.corpus left; further ones are learned from as well, and the first judges"
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help=more)
    parser.add_argument("--teacher", default="cross-encoder/ms-marco-MiniLM-L12-v2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=list(RECIPES))
    parser.add_argument("--epochs", type=float, help="train for longer or shorter than the recipe does")
    arguments = parser.parse_args()
    validation = read_groups(arguments.corpus[0] / "validation.jsonl")[::_JUDGES]
    train = [group for folder in arguments.corpus for group in read_groups(folder / "train.jsonl")]
    data = TrainingData(train, validation)
    for name in [arguments.only] if arguments.only else RECIPES:
        if (arguments.out / name / MANIFEST).exists():
            print(name, "is there already")
        else:
            make(name, data, arguments)


def make(name: str, data: TrainingData, arguments: argparse.Namespace) -> None:
    """Make one model, and print its measures."""
    recipe = RECIPES[name]
    base = recipe.student.base
    student = replace(recipe.student, base=str(arguments.out / base)) if base in RECIPES else recipe.student
    settings = replace(recipe.settings, epochs=arguments.epochs) if arguments.epochs else recipe.settings
    report = distill(
        arguments.teacher,
        data,
        arguments.out / name,
        student=student,
        settings=settings,
        about=About(name=name, license="apache-2.0", notes=_NOTES),
        scores=arguments.out / "teacher-scores.sqlite",
    )
    print(name, json.dumps(report.measures), report.refused or "")


if __name__ == "__main__":
    main()

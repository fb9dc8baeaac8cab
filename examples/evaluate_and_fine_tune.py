"""Fine-tuning on one's own questions, with hard negatives, and what it gains beside the first stage.

``python -m examples.evaluate_and_fine_tune CHECKPOINT BEIR_FOLDER OUT``, such as nano's float32 weights and SciFact.
"""

import sys
from dataclasses import dataclass

from secondpass import load_scorer
from secondpass.evaluation import Bm25Index, Collection, Settings, evaluate, read_beir
from secondpass.optimize import DEFAULT_SETTINGS, OptimizeSettings
from secondpass.training import FinetuneSettings, Group, finetune, mine_negatives


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is trained and tested: queries of each, negatives a query, candidates of a test query."""

    train: int = 150
    test: int = 30
    negatives: int = 3
    candidates: int = 20
    max_length: int = 192
    epochs: int = 2
    guard: str = "small"
    export: OptimizeSettings = DEFAULT_SETTINGS


def positives(collection: Collection) -> list[Group]:
    """Return each query with its first relevant text."""
    groups = []
    for query, grades in collection.qrels.items():
        relevant = [collection.corpus[key] for key, grade in grades.items() if grade > 0 and key in collection.corpus]
        if relevant:
            groups.append(Group(collection.queries[query], (relevant[0],), (1.0,)))
    return groups


def main(checkpoint: str, folder: str, out: str, sizes: Sizes | None = None) -> None:
    """Print what was mined, the measures before and after, and what secondpass measures with the tuned model."""
    sizes = sizes or Sizes()
    train = read_beir(folder, "train", depth=1).first(sizes.train)
    guard = load_scorer(sizes.guard, device="cpu", max_length=sizes.max_length)
    first_stage = Bm25Index(train.corpus).search
    how = {"negatives": sizes.negatives, "depth": sizes.candidates, "progress": False}
    mined = mine_negatives(positives(train), first_stage, guard=guard, **how)
    print(mined)
    settings = FinetuneSettings(epochs=sizes.epochs, max_length=sizes.max_length, export=sizes.export, progress=False)
    report = finetune(checkpoint, mined.examples, out, settings=settings)
    print(report)
    test = read_beir(folder, "test", depth=sizes.candidates).first(sizes.test)
    models = {"before": checkpoint, "after": str(report.folder)}
    scorers = {name: load_scorer(path, device="cpu") for name, path in models.items()}
    evaluation = evaluate(scorers, test, settings=Settings(depths=(), budgets=()))
    print(evaluation.to_markdown().split("\n\n## Cost")[0])


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""Evaluation and fine-tuning of a cross-encoder in sentence-transformers' present API.

Tutorials use ``CrossEncoder.fit`` and ``CECorrelationEvaluator``, which are deprecated; this is what replaces them.
``python -m examples.evaluate_and_fine_tune CHECKPOINT BEIR_FOLDER OUT``, such as nano's float32 weights and SciFact.
"""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from secondpass import load_scorer
from secondpass.evaluation import Collection, Settings, evaluate, read_beir


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is trained and tested: queries of each, wrong texts a query, candidates of a test query."""

    train: int = 150
    test: int = 30
    negatives: int = 3
    candidates: int = 20
    max_length: int = 192
    epochs: int = 2


def samples(collection: Collection, sizes: Sizes) -> list[dict[str, Any]]:
    """Return each query with its relevant texts, and wrong ones that BM25 ranks high ("hard negatives")."""
    rows = []
    for query, grades in collection.qrels.items():
        positive = [collection.corpus[key] for key, grade in grades.items() if grade > 0 and key in collection.corpus]
        candidates = collection.run[query][: sizes.candidates]
        negative = [item.text for item in candidates if grades.get(str(item.id), 0) < 1]
        if positive and negative:
            rows.append({"query": collection.queries[query], "positive": positive, "negative": negative})
    return rows


def as_pairs(rows: Sequence[dict[str, Any]], negatives: int, seed: int = 0) -> Dataset:
    """Return labelled pairs; the negatives are drawn at random from BM25's best."""
    draw = random.Random(seed)
    pairs = [
        (row["query"], text, label)
        for row in rows
        for texts, label in (
            (row["positive"][:1], 1.0),
            (draw.sample(row["negative"], min(negatives, len(row["negative"]))), 0.0),
        )
        for text in texts
    ]
    query, text, label = zip(*pairs, strict=True)
    return Dataset.from_dict({"query": query, "text": text, "label": label})


def measure(model: CrossEncoder, rows: Sequence[dict[str, Any]], negatives: int) -> dict[str, float]:
    """Return the measures of each task: ranking (nDCG, MRR, MAP), classification (F1, AP), correlation."""
    pairs = as_pairs(rows, negatives, seed=1)
    texts = [list(pair) for pair in zip(pairs["query"], pairs["text"], strict=True)]
    labels = list(pairs["label"])
    options: dict[str, Any] = {"name": "test", "write_csv": False, "batch_size": 16}
    results: dict[str, float] = {}
    for evaluator in (
        CrossEncoderRerankingEvaluator(list(rows), at_k=10, **options),
        CrossEncoderClassificationEvaluator(
            texts, [int(label) for label in labels], show_progress_bar=False, **options
        ),
        CrossEncoderCorrelationEvaluator(texts, labels, show_progress_bar=False, **options),
    ):
        results |= evaluator(model)
    wanted = ("ndcg@10", "mrr@10", "map", "f1", "average_precision", "spearman")
    return {name: float(results[f"test_{name}"]) for name in wanted if f"test_{name}" in results}


def fine_tune(model: CrossEncoder, rows: Sequence[dict[str, Any]], sizes: Sizes, out: Path) -> None:
    """Train on the pairs with binary cross-entropy, and save as safetensors."""
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=sizes.epochs,
        per_device_train_batch_size=16,
        learning_rate=2e-5,
        warmup_steps=0.1,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    trainer = CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=as_pairs(rows, sizes.negatives), loss=BinaryCrossEntropyLoss(model)
    )
    trainer.train()
    model.save_pretrained(str(out / "model"))


def main(checkpoint: str, folder: str, out: str, sizes: Sizes | None = None) -> None:
    """Print all measures before and after, and what secondpass measures with the tuned model."""
    sizes = sizes or Sizes()
    train = samples(read_beir(folder, "train", depth=sizes.candidates).first(sizes.train), sizes)
    collection = read_beir(folder, "test", depth=sizes.candidates).first(sizes.test)
    test = samples(collection, sizes)
    model = CrossEncoder(checkpoint, device="cpu", max_length=sizes.max_length)
    print(f"{len(train)} training queries, {len(test)} test queries, {sizes.candidates} candidates of BM25")
    before = measure(model, test, sizes.negatives)
    fine_tune(model, train, sizes, Path(out))
    after = measure(model, test, sizes.negatives)
    for name, value in before.items():
        print(f"  {name:18} {value:.3f} -> {after[name]:.3f}")
    tuned = load_scorer(str(Path(out) / "model"), engine="torch", device="cpu", max_length=sizes.max_length)
    evaluation = evaluate(tuned, collection, settings=Settings(depths=(), budgets=()))
    print(evaluation.to_markdown().split("\n\n## Differences")[0])
    (Path(out) / "measures.json").write_text(json.dumps({"before": before, "after": after}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:4])

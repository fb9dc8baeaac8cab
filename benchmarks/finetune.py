"""Fine-tuning measured: nano on SciFact's and NFCorpus' training questions, each on its own test set and elsewhere.

usage: python -m benchmarks.finetune --assets FOLDER [--build FOLDER] [--page FILE]

Negatives come from BM25 with ``small`` as the guard. Every step leaves a file in the build folder; what is there isn't
computed again, and a training that was killed resumes. int8 forms are compared, which is what a CPU loads.
"""

import argparse
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.trec_json import read_trec_json
from secondpass import load_scorer
from secondpass.evaluation import Bm25Index, Collection, Settings, evaluate, read_beir
from secondpass.training import (
    Examples,
    FinetuneSettings,
    Group,
    examples_of,
    finetune,
    mine_negatives,
)

QUESTIONS, POSITIVES, NEGATIVES = 160, 1, 3
TEST_QUESTIONS, CANDIDATES = 100, 30
SETTINGS = FinetuneSettings(epochs=2, max_length=192, evaluate_every=0.25, patience=None)
DEPTH = 20
MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class Run:
    """Where data comes from and results go."""

    data: Path
    nano: Path
    build: Path

    def examples(self, name: str) -> tuple[Examples, Mapping[str, Any]]:
        """Return a collection's training questions with mined negatives, and the report of what was mined."""
        file = self.build / f"{name}-mined.json"
        if not file.exists():
            collection = read_beir(self.data / name, "train", depth=1)
            index = Bm25Index(collection.corpus)
            chosen = random.Random(13).sample(sorted(collection.qrels), QUESTIONS)
            groups = [group for query in chosen if (group := _positives(collection, query))]
            guard = load_scorer("small", device="cpu", max_length=SETTINGS.max_length)
            start = time.perf_counter()
            mined = mine_negatives(groups, index.search, guard=guard, negatives=NEGATIVES, depth=DEPTH)
            rows = [{"query": g.query, "texts": g.texts, "labels": g.labels} for g in mined.examples.groups]
            report = {"negatives": mined.negatives, "refused": mined.refused, "mean_rank": mined.mean_rank}
            _write(file, {"rows": rows, "report": report, "seconds": time.perf_counter() - start})
        content = json.loads(file.read_text(encoding="utf-8"))
        return examples_of([(str(number), row) for number, row in enumerate(content["rows"])]), content

    def tuned(self, name: str) -> tuple[Path, Mapping[str, Any]]:
        """Return the folder of the model tuned on a collection, and its manifest."""
        folder = self.build / f"nano-{name}"
        if not (folder / "manifest.json").exists():
            print(finetune(str(self.nano), self.examples(name)[0], folder, settings=SETTINGS))
        return folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    def evaluated(self, name: str) -> Mapping[str, Any]:
        """Return the evaluation of the bundled nano and the tuned ones on a test set, as plain data."""
        file = self.build / f"{name}-evaluation.json"
        if not file.exists():
            models = {"nano": "nano", **{f"nano, {each}": str(self.tuned(each)[0]) for each in TUNED_ON}}
            scorers = {key: load_scorer(model, device="cpu") for key, model in models.items()}
            settings = Settings(depths=(), budgets=())
            _write(file, evaluate(scorers, self._collection(name), measures=[MEASURE], settings=settings).to_dict())
        content: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return content

    def _collection(self, name: str) -> Collection:
        if name == "DL 2019":
            folder = self.data / "trec-dl"
            collection = read_trec_json(folder / "bm25_top100_dl19.json", folder / "qrels.dl19-passage.txt")
            return collection.cut(CANDIDATES)
        return read_beir(self.data / name, "test", depth=CANDIDATES).first(TEST_QUESTIONS)


TUNED_ON = ("scifact", "nfcorpus")
TESTS = (*TUNED_ON, "DL 2019")


def _positives(collection: Collection, query: str) -> Group | None:
    grades = collection.qrels[query]
    ranked = sorted((key for key in grades if grades[key] > 0 and key in collection.corpus), key=lambda k: -grades[k])
    texts = tuple(dict.fromkeys(collection.corpus[key] for key in ranked[:POSITIVES]))
    return Group(collection.queries[query], texts, (1.0,) * len(texts)) if texts else None


def _write(file: Path, content: Any) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(file)


HEAD = f"""# Fine-tuning: the gain where it was trained, the cost elsewhere

`OMP_NUM_THREADS=1 python -m benchmarks.finetune --assets FOLDER`: `nano` fine-tuned on {QUESTIONS} training questions
of SciFact and of NFCorpus, each with one relevant text and at most {NEGATIVES} hard negatives out of BM25's first
{DEPTH}; `small` refuses candidates within 1 logit of the relevant text. LambdaLoss, {SETTINGS.epochs:g} epochs,
texts cut to {SETTINGS.max_length} tokens while training, word embeddings frozen, one CPU thread. Questions without an
accepted negative are left out, and a tenth validates.
"""
REMARKS = "## What it shows"  # this section is written by hand, and kept
TRAINED = (
    "| tuned on | questions | pairs | negatives | refused by the guard | mean rank | steps | seconds | "
    "validation nDCG@10 | int8 agreement |"
)
TESTED = "| test set | queries | BM25 | nano | tuned on | nDCG@10 | difference to nano |"
RESULTS = f"""## Test sets

BM25's first {CANDIDATES} candidates, the first {TEST_QUESTIONS} test questions of SciFact and NFCorpus, all of DL 2019.
The int8 form is measured where it was accepted, else the float32 weights. The difference to the bundled `nano` has a
95 % bootstrap interval, and the p-value of a paired permutation test.
"""


def page(run: Run) -> str:
    """Return the page with all figures."""
    lines = [HEAD, TRAINED, "| --- " * 10 + "|"]
    for name in TUNED_ON:
        _, manifest = run.tuned(name)
        mined, train = run.examples(name)[1]["report"], manifest["data"]["train"]
        measures, int8 = manifest["measures"], manifest["int8"]
        lines.append(
            f"| {name} | {train['groups']} | {train['pairs']} | {mined['negatives']} | "
            f"{mined['refused']} | {mined['mean_rank']:.1f} | "
            f"{manifest['training']['steps']} | {manifest['training']['seconds']} | "
            f"{measures['before'][MEASURE]:.3f} → {measures['after'][MEASURE]:.3f} | "
            f"{format(int8['agreement'], '.3f') if int8['accepted'] else 'refused'} |"
        )
    lines += ["", RESULTS, TESTED, "| --- " * 7 + "|"]
    for test in TESTS:
        result = run.evaluated(test)
        quality = {system["name"]: system["quality"][MEASURE]["mean"] for system in result["systems"]}
        for each in TUNED_ON:
            key = f"nano, {each}"
            change = next(d for d in result["differences"] if (d["before"], d["after"]) == ("nano", key))["comparison"]
            low, high = change["interval"]["low"], change["interval"]["high"]
            lines.append(
                f"| {test} | {result['judged']} | {result['first_stage'][MEASURE]['mean']:.3f} | "
                f"{quality['nano']:.3f} | {each} | {quality[key]:.3f} | "
                f"{change['interval']['mean']:+.3f} [{low:+.3f}, {high:+.3f}], p {change['p_value']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line, compute what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--assets", type=Path, required=True, help="holds models/nano and data/")
    parser.add_argument("--build", type=Path, default=Path("build/finetune"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks/finetune.md"))
    arguments = parser.parse_args()
    arguments.build.mkdir(parents=True, exist_ok=True)
    run = Run(arguments.assets / "data", arguments.assets / "models" / "nano", arguments.build)
    kept = arguments.page.read_text(encoding="utf-8").partition(REMARKS)[2] if arguments.page.exists() else ""
    arguments.page.write_text(page(run) + (f"\n{REMARKS}{kept}" if kept else ""), encoding="utf-8")


if __name__ == "__main__":
    main()

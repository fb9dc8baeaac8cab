"""Quality, speed, depth curve and answer in context of the bundled models, beside the float32 model they come from.

usage: python -m benchmarks.evaluation --assets FOLDER [--float32 FOLDER] [--models NAME[=FOLDER] ...]
           [--only PART ...] [--out FOLDER] [--fresh]

Each part and model writes its file, such as dl19-small.json, as soon as it is done, and keeps a file that is there: a
run that was killed goes on. benchmarks/evaluation_page.py makes the page of the files.
"""

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from benchmarks.trec_json import read_trec_json
from secondpass import load_scorer
from secondpass.evaluation import Collection, Settings, evaluate, read_beir, read_squad
from secondpass.records import Pair
from secondpass.scoring.cross_encoder import CrossEncoder

ROOT = Path(__file__).parents[1]
FLOAT32 = "float32 L12"
SPEED_PAIRS, SPEED_ROUNDS = 400, 6  # rounds: a multiple of two and of three models, so that each is in each place
QUALITY = Settings(depths=(), budgets=(), listed_queries=0)


@dataclass(frozen=True)
class Part:
    """A collection and what is computed on it; of a slow float32 model only the quality is."""

    read: Callable[[Path], Collection]
    measures: tuple[str, ...]
    settings: Settings
    float32: bool = True


def dl19(data: Path) -> Collection:
    """Read TREC DL 2019 with BM25's top 100."""
    return read_trec_json(data / "trec-dl" / "bm25_top100_dl19.json", data / "trec-dl" / "qrels.dl19-passage.txt")


def xquad(data: Path) -> Collection:
    """Read the articles of XQuAD that no model was trained or selected on."""
    titles = json.loads((ROOT / "benchmarks" / "models" / "xquad_articles.json").read_text("utf-8"))["judge"]
    return read_squad(data / "xquad-en" / "xquad.en.json", titles=titles)


MEASURES = ("nDCG@10", "RR@10", "R@100", "AP", "P@10")
DL_MEASURES = ("nDCG@10", "RR(rel=2)@10", "R(rel=2)@100", "AP(rel=2)", "P(rel=2)@10")
PARTS = {
    "dl19": Part(dl19, DL_MEASURES, replace(QUALITY, depths=Settings().depths, relevant_from=2)),
    "scifact": Part(lambda data: read_beir(data / "scifact"), MEASURES, QUALITY),
    "nfcorpus": Part(lambda data: read_beir(data / "nfcorpus"), MEASURES, QUALITY),
    "xquad": Part(xquad, MEASURES, replace(QUALITY, budgets=Settings().budgets), float32=False),
}


def main() -> None:
    """Run the parts for each model, and keep what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True, help="holds data/trec-dl, data/scifact and so on")
    parser.add_argument("--float32", help=f"a torch checkpoint, measured as {FLOAT32!r}: quality and speed only")
    parser.add_argument("--models", nargs="*", default=["small", "nano"], help="known to load_scorer, or NAME=FOLDER")
    parser.add_argument("--only", nargs="*", choices=[*PARTS, "speed"], default=["speed", *PARTS])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "evaluation")
    parser.add_argument("--fresh", action="store_true", help="compute everything anew")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        for file in options.out.glob("*.json"):
            file.unlink()
    models = dict(name.split("=", 1) if "=" in name else (name, name) for name in options.models)
    scorers = {name: cache(partial(load_scorer, folder, device="cpu")) for name, folder in models.items()}
    if options.float32:
        scorers[FLOAT32] = cache(partial(load_scorer, options.float32, engine="torch", device="cpu", dtype="float32"))
    collections = {name: cache(partial(part.read, options.assets / "data")) for name, part in PARTS.items()}
    if "speed" in options.only:
        keep(options.out / "speed.json", lambda: speed(collections["dl19"](), scorers), set(scorers))
    for name, scorer in scorers.items():  # the slow float32 model is the last
        for part in (part for part in PARTS if part in options.only):
            if name != FLOAT32 or PARTS[part].float32:
                file = options.out / f"{part}-{re.sub(r'[^a-z0-9]+', '-', name.lower())}.json"
                keep(file, partial(measure, PARTS[part], name, scorer, collections[part]))


def keep(file: Path, compute: Callable[[], dict[str, Any]], models: set[str] | None = None) -> None:
    """Compute a file that isn't there, or that lacks a model."""
    if file.is_file() and (not models or models <= json.loads(file.read_text("utf-8"))["tokens_a_second"].keys()):
        print(f"{file.name} is there: --fresh computes it anew")
        return
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(compute(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    unfinished.replace(file)
    print(f"{file.name} is written")


def measure(
    part: Part, name: str, scorer: Callable[[], CrossEncoder], collection: Callable[[], Collection]
) -> dict[str, Any]:
    """Evaluate one model on one collection."""
    settings = replace(QUALITY, relevant_from=part.settings.relevant_from) if name == FLOAT32 else part.settings
    with Progress() as bar:
        tasks: dict[str, TaskID] = {}

        def progress(work: str, done: int, total: int) -> None:
            if work not in tasks:
                tasks[work] = bar.add_task(work, total=total)
            bar.update(tasks[work], completed=done)

        evaluation = evaluate(
            {name: scorer()}, collection(), measures=part.measures, settings=settings, progress=progress
        )
    figures = evaluation.to_dict()
    del figures["per_query"]
    return figures


def speed(collection: Collection, scorers: Mapping[str, Callable[[], CrossEncoder]]) -> dict[str, Any]:
    """Measure tokens a second on the same pairs, one model after another, the order rotated in every round."""
    queries = collection.queries.items()
    pairs = [Pair(query, item.text) for key, query in queries for item in collection.run[key][:10]][:SPEED_PAIRS]
    loaded = {name: scorer() for name, scorer in scorers.items()}
    names = list(loaded)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for scorer in loaded.values():
        scorer.score_pairs(pairs[:50])
    for turn in range(SPEED_ROUNDS):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            (stage,) = loaded[name].score_pairs(pairs).stages
            tokens = stage.facts["tokens"]
            rates[name].append(int(str(tokens)) / (time.perf_counter() - started))
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "pairs": len(pairs),
        "rounds": SPEED_ROUNDS,
        "tokens_a_second": {name: statistics.median(measured) for name, measured in rates.items()},
        "each_round": rates,
    }


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

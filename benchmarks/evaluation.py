"""The bundled models and their teacher on judged collections: quality, cost, depth, answers in the context, speed.

usage: python benchmarks/evaluation.py --assets FOLDER [--teacher FOLDER_OR_HUB_ID] [--models NAME=FOLDER ...]
           [--students NAME=FOLDER ...] [--only PART ...]

Each part (dl19, scifact, nfcorpus, xquad, speed, students) writes docs/benchmarks/evaluation/PART.json as soon as it
is done; benchmarks/evaluation_page.py makes the page of them. The teacher is measured in the form that the students
have, int8 with fixed scales, which the optimiser makes once under build/.
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from secondpass import load_scorer
from secondpass.evaluation import Collection, Settings, evaluate, read_beir, read_squad, read_trec_json
from secondpass.optimize import optimize
from secondpass.scores import Pair
from secondpass.scoring.cross_encoder import CrossEncoder

OUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "evaluation"
BUILD = Path(__file__).parents[1] / "build" / "evaluation"
XQUAD = Path(__file__).parents[1] / "recipes" / "xquad_articles.json"
MEASURES = ("nDCG@10", "RR@10", "R@100", "AP", "P@10")
DL_MEASURES = ("nDCG@10", "RR(rel=2)@10", "R(rel=2)@100", "AP(rel=2)", "P(rel=2)@10")
SPEED_TEXTS, SPEED_ROUNDS = 400, 7

Models = Mapping[str, CrossEncoder]


def main() -> None:
    """Run the parts that were asked for, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--assets", type=Path, required=True, help="holds data/trec-dl, data/scifact and so on")
    parser.add_argument(
        "--models", nargs="*", default=["nano", "mini"], help="a name that load_scorer knows, or NAME=FOLDER"
    )
    parser.add_argument("--teacher", default="cross-encoder/ms-marco-MiniLM-L12-v2", help="a torch checkpoint")
    parser.add_argument("--students", nargs="*", default=[], help="more students for the curve alone, NAME=FOLDER")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    models = load([*options.models, f"teacher={int8(options.teacher, options.assets / 'data')}"])
    students = load(options.students) if "students" in options.only else {}
    OUT.mkdir(parents=True, exist_ok=True)
    for part in options.only:
        found = PARTS[part](options.assets / "data", {**models, **students} if part == "students" else models)
        (OUT / f"{part}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def int8(teacher: str, data: Path) -> Path:
    """Return the folder of the teacher's int8 form, calibrated on queries that judge nothing here."""
    folder = BUILD / re.sub(r"\W+", "-", teacher).strip("-")
    if not folder.exists():
        found = read_trec_json(data / "trec-dl" / "bm25_top100_dl21.json", data / "trec-dl" / "qrels.dl21-passage.txt")
        pairs = [Pair(found.queries[key], item.text) for key, items in found.run.items() for item in items[::20]]
        optimize(teacher, folder, calibration=pairs)
    return folder


def load(names: Sequence[str]) -> dict[str, CrossEncoder]:
    """Load each model that is named, or given as NAME=FOLDER."""
    folders = dict(name.split("=", 1) if "=" in name else (name, name) for name in names)
    return {name: load_scorer(folder, engine="onnx") for name, folder in folders.items()}


def judged(
    read: Callable[[Path], Collection], measures: tuple[str, ...], relevant_from: int, data: Path, models: Models
) -> dict[str, Any]:
    """Evaluate the models on a collection."""
    settings = Settings(relevant_from=relevant_from, shown=3)
    with Progress() as progress:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done)

        found = evaluate(dict(models), read(data), measures=measures, settings=settings, progress=tell)
    told = found.to_dict()
    del told["per_query"]
    return told


def dl19(data: Path) -> Collection:
    """Read TREC DL 2019 with BM25's top 100."""
    return read_trec_json(data / "trec-dl" / "bm25_top100_dl19.json", data / "trec-dl" / "qrels.dl19-passage.txt")


def xquad(data: Path) -> Collection:
    """Read the articles that no student has seen."""
    return read_squad(data / "xquad-en" / "xquad.en.json", titles=json.loads(XQUAD.read_text("utf-8"))["judge"])


def speed(data: Path, models: Models) -> dict[str, Any]:
    """Measure tokens a second on the same texts, one model after another, the order rotated in every round."""
    collection = dl19(data)
    pairs = [Pair(query, item.text) for key, query in collection.queries.items() for item in collection.run[key][:10]][
        :SPEED_TEXTS
    ]
    tokens = sum(next(iter(models.values())).count_tokens([pair.query + " " + pair.text for pair in pairs]))
    names = list(models)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for scorer in models.values():
        scorer.score_pairs(pairs[:50])
    for turn in range(SPEED_ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            models[name].score_pairs(pairs)
            seconds[name].append(time.perf_counter() - started)
    return {
        "pairs": len(pairs),
        "tokens": tokens,
        "rounds": SPEED_ROUNDS,
        "tokens_a_second": {name: tokens / statistics.median(taken) for name, taken in seconds.items()},
        "times_the_teacher": {
            name: statistics.median(t / s for t, s in zip(seconds["teacher"], taken, strict=True))
            for name, taken in seconds.items()
        },
        "seconds": seconds,
    }


def students(data: Path, models: Models) -> dict[str, Any]:
    """Measure every student's quality on TREC DL 2019 and its speed, side by side."""
    settings = Settings(relevant_from=2, depths=(), budgets=(), shown=0)
    found = evaluate(dict(models), dl19(data), measures=DL_MEASURES[:1], settings=settings).to_dict()
    return {
        "first_stage": found["first_stage"],
        "quality": {system["name"]: system["quality"]["nDCG@10"] for system in found["systems"]},
        "speed": speed(data, models),
    }


PARTS: dict[str, Callable[[Path, Models], dict[str, Any]]] = {
    "dl19": partial(judged, dl19, DL_MEASURES, 2),
    "scifact": partial(judged, lambda data: read_beir(data / "scifact"), MEASURES, 1),
    "nfcorpus": partial(judged, lambda data: read_beir(data / "nfcorpus"), MEASURES, 1),
    "xquad": partial(judged, xquad, MEASURES, 1),
    "speed": speed,
    "students": students,
}


if __name__ == "__main__":
    main()

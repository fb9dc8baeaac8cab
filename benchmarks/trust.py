"""Verdicts, calibration, ``answerable``, learned fusion, and the power of interleaving, for the bundled models.

usage: python -m benchmarks.trust --assets FOLDER [--scores FOLDER] [--models NAME ...] [--only PART ...]
           [--out FOLDER] [--fresh]

Scores are kept in SQLite under ``--scores``, and each part writes its file, such as verdict-dl19-bm25-nano.json, when
it is done: a run that was killed goes on. The page docs/benchmarks/trust.md is made of the files at the end.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import trust_page
from benchmarks.refusal import mean_wrong, refusal_curve
from benchmarks.trust_data import DL, ROOT, collections
from secondpass import Cached, LoadOptions, ReciprocalRank, Reranker, WeightedSum, load_scorer
from secondpass.calibration import Calibration, logistic
from secondpass.evaluation import (
    Collection,
    Settings,
    answer_cases,
    choose_threshold,
    drop_relevant,
    evaluate,
    fit_answerability,
    fit_calibration,
    fit_fusion,
    join_labelled,
    label_pairs,
    precision_recall_at,
    reliability,
)
from secondpass.evaluation.measures import compare
from secondpass.fusion import Fusion
from secondpass.observe.interleaving import Preference
from secondpass.scoring.scorer import Scorer

Readers = Mapping[str, Callable[[], Collection]]
QUICK = Settings(depths=(5, 10, 20, 30, 50), timed_queries=0, budgets=(), listed_queries=3, listed_candidates=0)
RELEVANT_FROM = 2
"""The lowest grade of a relevant text in DL 2019."""
METHODS = ("temperature", "platt", "isotonic")
OWN = "platt, fitted on this collection's own training part"
KEPT = 5
FOLDS = 5
REFUSED = (0.0, 0.2, 0.4, 0.5, 0.6)
RATES = (0.52, 0.55, 0.6, 0.7)
"""The better side's true share of the impressions with a winner."""
IMPRESSIONS, EXPERIMENTS = 5000, 500


def main() -> None:
    """Compute the parts that aren't there, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True, help="holds data/")
    parser.add_argument("--scores", type=Path, default=ROOT / "build" / "trust")
    parser.add_argument("--models", nargs="*", default=["nano", "small"])
    parser.add_argument("--only", nargs="*", help="parts, by the beginning of their names")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "trust")
    parser.add_argument("--fresh", action="store_true", help="compute everything anew; scores are kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, compute in parts(options.models, options.assets / "data", options.scores):
        file = options.out / f"{name}.json"
        if (file.is_file() and not options.fresh) or not name.startswith(tuple(options.only or [""])):
            continue
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(compute(), indent=1) + "\n", "utf-8")
        unfinished.replace(file)
        print(f"{file.name} is written", flush=True)
    trust_page.main(options.out)


def parts(models: list[str], data: Path, scores: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each part's name and computation."""
    yield "interleaving", interleaving
    for model in models:
        scorer = cache(partial(open_cached, model, scores))
        readers = collections(data, model)
        for name in ("xquad-judge", "scifact-test"):
            yield f"calibration-{name}-{model}", partial(calibration, scorer, readers, name)
        yield f"answerable-{model}", partial(answerable, scorer, readers)
        for name in (f"dl19-{run}" for run in DL):
            yield f"verdict-{name}-{model}", partial(verdict, scorer, readers[name])
            yield f"fusion-{name}-{model}", partial(fusion, scorer, readers[name])


def open_cached(model: str, scores: Path) -> Scorer:
    """Open a model on one thread, with its scores kept."""
    return Cached(load_scorer(model, device="cpu", options=LoadOptions(threads=1)), scores / f"{model}.db")


def verdict(scorer: Callable[[], Scorer], read: Callable[[], Collection]) -> dict[str, Any]:
    """Return the verdict on one model over one first stage."""
    collection = read()
    result = evaluate({scorer().spec.name: scorer()}, collection, measures=("nDCG@10",), settings=QUICK)
    (system,) = result.systems
    if system.verdict is None:
        raise ValueError("the collection has no judgements")
    before, after = result.first_stage["nDCG@10"].mean, system.quality["nDCG@10"].mean
    return asdict(system.verdict) | {"before": before, "after": after, "sentences": system.verdict.sentences()}


def calibration(scorer: Callable[[], Scorer], readers: Readers, name: str) -> dict[str, Any]:
    """Return ECE before and after, and the precision reached, on texts that nothing was fitted on."""
    plain = scorer().spec
    plain = replace(plain, scale=replace(plain.scale, calibration=None))
    fitted = join_labelled(*(label_pairs(scorer(), readers[part]()) for part in ("xquad-train", "scifact-train")))
    judged = label_pairs(scorer(), readers[name]())
    fitted, judged = replace(fitted, spec=plain), replace(judged, spec=plain)
    records: dict[str, Calibration | None] = {"none": None} | {m: fit_calibration(fitted, m) for m in METHODS}
    own = replace(label_pairs(scorer(), readers[f"{name.partition('-')[0]}-train"]()), spec=plain)
    records[OWN] = fit_calibration(own)
    figures: dict[str, Any] = {"fitted_on": len(fitted.values), "judged_on": len(judged.values), "methods": {}}
    for method, record in records.items():
        result = reliability(judged.probabilities(plain.calibrated(record)), judged.labels)
        chosen = choose_threshold(own if method == OWN else fitted, record, precision=0.9)
        figures["methods"][method] = {
            "reliability": asdict(result),
            "threshold": asdict(chosen),
            "reached": asdict(precision_recall_at(judged, chosen.probability, record)),
        }
    return figures


def answerable(scorer: Callable[[], Scorer], readers: Readers) -> dict[str, Any]:
    """Return the refusal curve of ``answerable`` beside that of the largest probability, where five are kept.

    Half of the questions have their right paragraph taken out, to fit on and to judge on alike.
    """
    fitted, judged = (answer_cases(scorer(), drop_relevant(readers[f"xquad-{part}"]())) for part in ("train", "judge"))
    record = fit_answerability(fitted)
    labels = [case.answered(KEPT) for case in judged]
    ways = {
        "answerable": [record.probability(case.scores[:KEPT], case.scores[KEPT:]) for case in judged],
        "largest probability": [logistic(case.scores[0]) for case in judged],
        "largest calibrated probability": [_calibrated(scorer(), case.scores[0]) for case in judged],
    }
    figures: dict[str, Any] = {"questions": len(judged), "answered": sum(labels), "ways": {}}
    for way, probabilities in ways.items():
        curve = refusal_curve(probabilities, labels)
        at = [
            min(curve, key=lambda point, share=share: abs(point.refused - share)) for share in (0, 0.2, 0.4, 0.5, 0.6)
        ]
        figures["ways"][way] = {
            "ece": reliability(probabilities, labels).ece,
            "mean_wrong": mean_wrong(curve),
            "curve": [asdict(point) for point in at],
        }
    return figures


def _calibrated(scorer: Scorer, odds: float) -> float:
    record = scorer.spec.scale.calibration
    return record.probability(odds) if record else logistic(odds)


def fusion(scorer: Callable[[], Scorer], read: Callable[[], Collection]) -> dict[str, Any]:
    """Compare learned fusion with others, each question fused by what was fitted on the other four fifths."""
    collection = read()
    queries = [*collection.qrels]
    fixed: dict[str, Fusion | None] = {"model alone": None, "RRF": ReciprocalRank(), "weighted sum": WeightedSum()}
    values: dict[str, dict[str, float]] = {name: {} for name in (*fixed, "learned")}
    for fold in range(FOLDS):
        held_out = set(queries[fold::FOLDS])
        learned = fit_fusion(scorer(), _only(collection, set(queries) - held_out), relevant_from=RELEVANT_FROM)
        rerankers = {name: Reranker(scorer(), fusion=rule) for name, rule in (fixed | {"learned": learned}).items()}
        judged = _only(collection, held_out)
        result = evaluate(rerankers, judged, measures=("nDCG@10",), settings=replace(QUICK, depths=()))
        for name in values:
            values[name] |= result.per_query[name]["nDCG@10"]
    rrf, mine = ([values[name][query] for query in queries] for name in ("RRF", "learned"))
    means = {name: float(np.mean([*of.values()])) for name, of in values.items()}
    return {"questions": len(queries), "means": means, "over_rrf": asdict(compare(rrf, mine, QUICK.sampling))}


def _only(collection: Collection, queries: set[str]) -> Collection:
    kept = {query: text for query, text in collection.queries.items() if query in queries}
    run = {query: collection.run[query] for query in kept}
    return replace(collection, queries=kept, run=run, qrels={query: collection.qrels[query] for query in kept})


def interleaving() -> dict[str, Any]:
    """Simulate impressions with a winner, and return how soon the sequential test decides, and how often wrongly."""
    lots = random.Random(0)
    figures = {}
    for rate in (0.5, *RATES):
        ends, right = [], 0
        for _ in range(EXPERIMENTS):
            test = Preference()
            while test.decided is None and test.first + test.second < IMPRESSIONS:
                test.add(1 if lots.random() < rate else -1)
            if test.decided:
                ends.append(test.first + test.second)
                right += test.decided == "first"
        figures[f"{rate}"] = {
            "decided": len(ends) / EXPERIMENTS,
            "right": right / EXPERIMENTS,
            "median_impressions": float(np.median(ends)) if ends else None,
            "within_500": sum(end <= 500 for end in ends) / EXPERIMENTS,
        }
    return {"impressions": IMPRESSIONS, "experiments": EXPERIMENTS, "rates": figures}


if __name__ == "__main__":
    main()

"""The bundled models' calibration and answerability, fitted on texts that judge nothing.

usage: python -m benchmarks.models.calibrate --assets FOLDER [--scores FOLDER] [NAME ...]

The pairs are BM25's best ten for questions of XQuAD's articles that judge nothing, and for claims of SciFact's training
split; ``--scores`` keeps the scores, so that a killed run goes on.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.models.bundle import MODELS, PACKAGE, sha256, write_json
from benchmarks.trust_data import collections
from secondpass import Cached, load_scorer
from secondpass.calibration import ANSWERABILITY_FILE, CALIBRATION_FILE, RECORD_FILES, Answerability, Calibration
from secondpass.evaluation import (
    answer_cases,
    drop_relevant,
    fit_answerability,
    fit_calibration,
    join_labelled,
    label_pairs,
)
from secondpass.scoring.scorer import Scorer


def main() -> None:
    """Read the command line, and calibrate the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--assets", type=Path, required=True, help="holds data/")
    parser.add_argument("--scores", type=Path, help="keeps scores in this folder")
    parser.add_argument("--models", type=Path, default=PACKAGE)
    arguments = parser.parse_args()
    for name in arguments.names:
        scorer: Scorer = load_scorer(arguments.models / name, device="cpu")
        if arguments.scores:
            scorer = Cached(scorer, arguments.scores / f"{name}.db")
        calibrate(name, scorer, arguments.assets / "data", arguments.models / name)


def fit(name: str, scorer: Scorer, data: Path) -> tuple[Calibration, Answerability]:
    """Fit both records of a bundled model."""
    readers = collections(data, name)
    sets = [readers[part]() for part in ("xquad-train", "scifact-train")]
    calibration = fit_calibration(join_labelled(*(label_pairs(scorer, collection) for collection in sets)))
    cases = [case for collection in sets for case in answer_cases(scorer, drop_relevant(collection))]
    return calibration, fit_answerability(cases)


def calibrate(name: str, scorer: Scorer, data: Path, folder: Path) -> None:
    """Write both records into a bundled model's folder, and their hashes into its manifest."""
    calibration, answerability = fit(name, scorer, data)
    calibration.save(folder / CALIBRATION_FILE)
    answerability.save(folder / ANSWERABILITY_FILE)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"] |= {file: sha256(folder / file) for file in RECORD_FILES}
    write_json(folder / "manifest.json", manifest)
    print(name, asdict(calibration), asdict(answerability))


if __name__ == "__main__":
    main()

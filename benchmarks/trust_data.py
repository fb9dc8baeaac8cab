"""The collections of benchmarks/trust.py: to fit on, and to judge on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.trec_json import read_trec_json
from secondpass.evaluation import Collection, read_beir, read_squad

ROOT = Path(__file__).parents[1]
DL = {"bm25": "bm25", "tasb": "d_bert_kd_tasb", "ada2": "open_ai_ada2"}
STEPS = {"nano": 1, "small": 4}
"""Every how manieth question of XQuAD and SciFact is read: ``small`` takes ten times as long."""


def collections(data: Path, model: str) -> Mapping[str, Callable[[], Collection]]:
    """Return readers of the collections by name; those to fit on end in ``train``."""
    step = STEPS.get(model, 1)
    return {
        "xquad-train": partial(xquad, data, "train", 10, step),
        "xquad-judge": partial(xquad, data, "judge", 11, 2 * step),  # one more, since the right paragraph is taken out
        "scifact-train": lambda: every(read_beir(data / "scifact", "train", depth=10), 4 * step),
        **{f"dl19-{name}": partial(dl19, data, file) for name, file in DL.items()},
        "scifact-test": lambda: every(read_beir(data / "scifact", depth=10), 4 * step),
    }


def dl19(data: Path, run: str) -> Collection:
    """Read TREC DL 2019 with the best 50 candidates of a first stage."""
    folder = data / "trec-dl"
    return read_trec_json(folder / f"{run}_top100_dl19.json", folder / "qrels.dl19-passage.txt").cut(50)


def xquad(data: Path, split: str, depth: int, step: int) -> Collection:
    """Read XQuAD's articles to fit or to judge on."""
    titles = json.loads((ROOT / "benchmarks" / "models" / "xquad_articles.json").read_text("utf-8"))[split]
    collection = read_squad(data / "xquad-en" / "xquad.en.json", titles=titles, depth=depth)
    return replace(every(collection, step), name=f"XQuAD, {split} articles")


def every(collection: Collection, step: int) -> Collection:
    """Return every so manieth query of a collection."""
    queries = dict(list(collection.queries.items())[::step])
    parts = {
        name: {q: getattr(collection, name)[q] for q in queries if q in getattr(collection, name)}
        for name in ("qrels", "run", "answers")
    }
    return replace(collection, queries=queries, **parts)

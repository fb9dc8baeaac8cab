"""The page docs/benchmarks/evaluation.md, made from the figures that benchmarks/evaluation.py wrote.

usage: python -m benchmarks.evaluation_page [FOLDER]
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks" / "evaluation"
COLLECTIONS = {"dl19": "TREC DL 2019", "scifact": "SciFact test", "nfcorpus": "NFCorpus test"}
MEASURE = "nDCG@10"

Figures = Mapping[str, Any]
Part = Mapping[str, Figures]
"""From a model's name to its figures on one collection."""


def main(folder: Path) -> None:
    """Read the figures, and write the page beside their folder."""
    parts = {part: read(folder, part) for part in (*COLLECTIONS, "xquad")}
    file = folder / "speed.json"
    speed = json.loads(file.read_text("utf-8")) if file.is_file() else None
    folder.with_suffix(".md").write_text("\n\n".join(page(parts, speed)) + "\n", "utf-8")


def read(folder: Path, part: str) -> Part:
    """Return each model's figures on one collection: the evaluation, with the model's own under ``system``."""
    evaluations = [json.loads(file.read_text("utf-8")) for file in folder.glob(f"{part}-*.json")]
    return {item["systems"][0]["name"]: item | {"system": item["systems"][0]} for item in evaluations}


def page(parts: Mapping[str, Part], speed: Figures | None) -> Iterator[str]:
    """Yield the page's paragraphs; what wasn't measured has none."""
    yield "# Quality, cost and speed of the bundled models"
    yield "Made by `make evaluate`; the figures are those of the JSON files in `evaluation/`."
    judged = {part: parts[part] for part in COLLECTIONS if parts[part]}
    if judged:
        yield from quality(judged, speed)
    for name, figures in parts["dl19"].items():
        if figures["system"]["depths"]:
            yield f"## How many candidates to rerank: {name}, {COLLECTIONS['dl19']}"
            yield table(["candidates", MEASURE, "milliseconds, median"], map(depth, figures["system"]["depths"]))
    if parts["xquad"]:
        questions = next(iter(parts["xquad"].values()))["context_queries"]
        yield f"## Answer in context: {questions} questions of XQuAD's judging articles"
        yield "The share of contexts that hold the answer. The same selection is the second pass's, in BM25's order."
    for name, figures in parts["xquad"].items():
        points = figures["system"]["contexts"]
        ways = ("top_n", "same_selection", "second_pass")
        rows = [[f"{point['budget']}", *(interval(point[way]["share"]) for way in ways)] for point in points]
        yield table(["tokens", "BM25, top k", "BM25, same selection", f"second pass: {name}"], rows)


def quality(parts: Mapping[str, Part], speed: Figures | None) -> Iterator[str]:
    """Yield the measure by model and collection beside the speed, and what differs from the reference model."""
    rates = speed["tokens_a_second"] if speed else {}
    names = sorted(
        {name for part in parts.values() for name in part}, key=lambda name: (rates.get(name, math.inf), name)
    )
    first = [next(iter(part.values())) for part in parts.values()]
    rows = [["BM25", *(interval(figures["first_stage"][MEASURE]) for figures in first), "-"]]
    for name in names:
        means = [interval(mean(part, name)) if name in part else "-" for part in parts.values()]
        rows.append([name, *means, f"{rates[name]:,.0f}" if name in rates else "-"])
    heads = [f"{COLLECTIONS[part]} ({item['judged']} queries)" for part, item in zip(parts, first, strict=True)]
    yield f"## {MEASURE} over BM25's top 100, and speed"
    yield table(["", *heads, "tokens a second"], rows)
    yield "In brackets 95 % intervals, bootstrapped over queries."
    if speed:
        spread = max(max(rounds) / min(rounds) for rounds in speed["each_round"].values())
        yield (
            f"Speed: {speed['pairs']} passages of TREC DL 2019 on {speed['processor']} ({speed['cores']} processors), "
            f"{speed['rounds']} rounds in one run, the order rotated, medians. A model's fastest round was up to "
            f"{spread:.1f} times as fast as its slowest: where this is much above 1, the machine was busy, "
            "and milliseconds are too high."
        )
    reference = names[0]  # the slowest: float32, where it was measured
    yield "\n".join(f"- {sentence}" for name in names[1:] for sentence in compared(parts, name, reference, rates))


def compared(parts: Mapping[str, Part], name: str, reference: str, rates: Mapping[str, float]) -> Iterator[str]:
    """Yield how far a model's means are from the reference's, and how much faster it is."""
    both = {COLLECTIONS[key]: part for key, part in parts.items() if name in part and reference in part}
    differences = {key: mean(part, name)["mean"] - mean(part, reference)["mean"] for key, part in both.items()}
    if differences:
        bound = math.ceil(max(map(abs, differences.values())) * 1000) / 1000
        each = ", ".join(f"{key} {difference:+.4f}" for key, difference in differences.items())
        ratio = f"; it reads {rates[name] / rates[reference]:.1f} times the tokens a second" if name in rates else ""
        yield f"{name} is within {bound:.3f} of {reference} on each ({each}){ratio}."


def depth(point: Figures) -> list[str]:
    """Return a row of the depth curve."""
    timing = point["timing"] and point["timing"]["median_ms"]
    return [f"{point['depth']}", interval(point["quality"][MEASURE]), "-" if timing is None else f"{timing:.0f}"]


def mean(part: Part, name: str) -> Figures:
    """Return a model's mean with its interval."""
    figures: Figures = part[name]["system"]["quality"][MEASURE]
    return figures


def interval(figures: Figures) -> str:
    """Return a mean with its interval as text."""
    return f"{figures['mean']:.4f} [{figures['low']:.3f}, {figures['high']:.3f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

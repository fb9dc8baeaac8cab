"""The page docs/benchmarks/evaluation.md, made from the figures that benchmarks/evaluation.py left.

usage: python benchmarks/evaluation_page.py
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
COLLECTIONS = {"dl19": "TREC DL 2019", "scifact": "SciFact test", "nfcorpus": "NFCorpus test"}
FIRST = "BM25"

Figures = Mapping[str, Any]


def main() -> None:
    """Read what was measured, and write the page."""
    parts = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / "evaluation").glob("*.json"))}
    (FOLDER / "evaluation.md").write_text("\n\n".join(page(parts)) + "\n", "utf-8")


def page(parts: Mapping[str, Figures]) -> Iterator[str]:
    """Yield the page's parts; what wasn't measured has none."""
    yield "# Quality, cost and speed of the bundled models"
    yield "Made by `make evaluate`; the figures are those of the JSON files in `evaluation/`."
    yield from quality({name: parts[name] for name in COLLECTIONS if name in parts})
    if "dl19" in parts:
        yield from depth(parts["dl19"])
    if "xquad" in parts:
        yield from contexts(parts["xquad"])
    if "speed" in parts:
        yield from speed(parts["speed"])
    if "students" in parts:
        yield from students(parts["students"])


def quality(found: Mapping[str, Figures]) -> Iterator[str]:
    """Yield nDCG@10 by collection and model, and the share of the teacher's gain."""
    if not found:
        return
    names = list(dict.fromkeys(system["name"] for figures in found.values() for system in figures["systems"]))
    rows = [[FIRST, *(interval(figures["first_stage"]["nDCG@10"]) for figures in found.values())]]
    rows += [
        [name, *(interval(system(figures, name)["quality"]["nDCG@10"]) for figures in found.values())] for name in names
    ]
    yield "## nDCG@10 over BM25's top 100"
    yield table(["", *(f"{COLLECTIONS[name]} ({figures['judged']} queries)" for name, figures in found.items())], rows)
    yield (
        "In brackets 95 % intervals, bootstrapped over queries. The teacher is in int8 with fixed scales, as the "
        "students are. SciFact's abstracts, and claims other than these, were among what the students learned from."
    )
    shares = [[name, *(share(figures, name) for figures in found.values())] for name in names if name != "teacher"]
    yield "Share of the teacher's gain over BM25:"
    yield table(["", *(COLLECTIONS[name] for name in found)], shares)


def depth(figures: Figures) -> Iterator[str]:
    """Yield what reranking more candidates gains and costs."""
    yield "## How many candidates to rerank: TREC DL 2019"
    for item in figures["systems"]:
        rows = [
            [
                str(point["depth"]),
                interval(point["quality"]["nDCG@10"]),
                "-" if point["timing"] is None else f"{point['timing']['median_ms']:.0f}",
            ]
            for point in item["depths"]
        ]
        yield f"**{item['name']}**"
        yield table(["candidates", "nDCG@10", "milliseconds, median"], rows)


def contexts(figures: Figures) -> Iterator[str]:
    """Yield how often the answer is in the context at so many tokens."""
    yield f"## Answer in context: {figures['asked']} questions of XQuAD's judging articles"
    for item in figures["systems"]:
        rows = [
            [str(point["budget"]), *(interval(point[way]["share"]) for way in ("plain", "rules", "second"))]
            for point in item["contexts"]
        ]
        yield f"**{item['name']}**"
        yield table(["tokens", "BM25, top k", "BM25, same rules", "second pass"], rows)


def speed(figures: Figures) -> Iterator[str]:
    """Yield tokens a second, side by side."""
    yield "## Speed"
    rows = [
        [name, f"{rate:,.0f}", f"{figures['times_the_teacher'][name]:.2f}"]
        for name, rate in figures["tokens_a_second"].items()
    ]
    yield table(["", "tokens a second", "times the teacher"], rows)
    yield (
        f"{figures['pairs']} passages of TREC DL 2019, {figures['rounds']} rounds in one run, the order rotated, "
        "medians. Ratios travel between machines, absolute figures don't."
    )


def students(figures: Figures) -> Iterator[str]:
    """Draw quality against speed, and yield the picture with its figures."""
    draw(figures, FOLDER / "evaluation" / "students.svg")
    ratios = figures["speed"]["times_the_teacher"]
    rows = [
        [name, interval(quality), f"{ratios[name]:.2f}"]
        for name, quality in sorted(figures["quality"].items(), key=lambda item: ratios[item[0]])
    ]
    yield "## The students that were trained"
    yield "![nDCG@10 on TREC DL 2019 against speed](evaluation/students.svg)"
    yield table(["", "nDCG@10, TREC DL 2019", "times the teacher's tokens a second"], rows)


def draw(figures: Figures, file: Path) -> None:
    """Draw the curve of quality against speed: a point with its interval for each model, a line for the first stage."""
    plt.rcParams["svg.hashsalt"] = "secondpass"  # the same figures give the same file
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    ratios = figures["speed"]["times_the_teacher"]
    for name, quality in figures["quality"].items():
        below, above = quality["mean"] - quality["low"], quality["high"] - quality["mean"]
        axes.errorbar(ratios[name], quality["mean"], yerr=[[below], [above]], fmt="o", capsize=3)
        axes.annotate(name, (ratios[name], quality["mean"]), xytext=(6, 4), textcoords="offset points", fontsize=8)
    first = figures["first_stage"]["nDCG@10"]["mean"]
    axes.axhline(first, linestyle="--", color="grey", label=FIRST)
    axes.set(xscale="log", xlabel="tokens a second, times the teacher's", ylabel="nDCG@10, TREC DL 2019")
    axes.set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
    axes.legend(loc="upper right")
    figure.savefig(file, metadata={"Date": None})


def system(figures: Figures, name: str) -> Figures:
    """Return one model's figures."""
    found: Figures = next(item for item in figures["systems"] if item["name"] == name)
    return found


def share(figures: Figures, name: str) -> str:
    """Return how much of the teacher's gain a model keeps; a dash where the teacher gains nothing."""
    before = figures["first_stage"]["nDCG@10"]["mean"]
    gain = system(figures, "teacher")["quality"]["nDCG@10"]["mean"] - before
    own = system(figures, name)["quality"]["nDCG@10"]["mean"] - before
    return f"{own / gain:.0%}" if gain > 0 else "-"


def interval(found: Figures) -> str:
    """Return a mean with its interval."""
    return f"{found['mean']:.4f} [{found['low']:.3f}, {found['high']:.3f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    main()

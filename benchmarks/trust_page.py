"""The page docs/benchmarks/trust.md, made from the figures that benchmarks/trust.py wrote."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.evaluation_page import table
from secondpass.evaluation import Settings
from secondpass.evaluation.measures import Comparison, Interval
from secondpass.evaluation.verdict import finding_of

Figures = Mapping[str, Any]
NAMES = {
    "xquad-judge": "XQuAD's judging articles",
    "scifact-test": "SciFact's test claims",
    "dl19-bm25": "DL 2019, BM25",
    "dl19-tasb": "DL 2019, TAS-B",
    "dl19-ada2": "DL 2019, ada2",
}
DEEP = {"scifact": "SciFact, BM25", "nfcorpus": "NFCorpus, BM25"}


def main(folder: Path) -> None:
    """Read the figures, and write the page beside their folder."""
    parts = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))}
    folder.with_suffix(".md").write_text("\n\n".join(page(parts, folder.parent / "evaluation")) + "\n", "utf-8")


def page(parts: Mapping[str, Figures], evaluation: Path) -> Iterator[str]:
    """Yield the page's paragraphs; what wasn't measured has none."""
    yield "# Trust: verdicts, probabilities, refusals, fusion, interleaving"
    yield "Made by `make trust`; the figures are those of the JSON files in `trust/`. In brackets 95 % intervals."
    yield "## Does the second pass help over this first stage?"
    yield table(
        ["first stage", "model", "questions", "nDCG@10", "change", "verdict", "detectable", "depth", "alpha"],
        [_verdict(name, parts[name]) for name in parts if name.startswith("verdict-")] + list(_deep(evaluation)),
    )
    yield (
        "The candidates are the best 50 of DL 2019; of SciFact and NFCorpus the best 100, from "
        "[evaluation](evaluation.md), which has no depth curve on them. "
        "Detectable: the change that so many questions show in four of five experiments. Depth and weight are advice."
    )
    for name in (name for name in parts if name.startswith("calibration-")):
        yield from calibration(*_parts(name)[1:], parts[name])
    for name in (name for name in parts if name.startswith("answerable-")):
        yield from answerable(name.partition("-")[2], parts[name])
    fusions = [name for name in parts if name.startswith("fusion-")]
    if fusions:
        yield "## Learned fusion, on held-out questions"
        ways = list(parts[fusions[0]]["means"])
        yield table(
            ["first stage", "model", *ways, "learned over RRF"], [_fusion(name, parts[name]) for name in fusions]
        )
        yield "nDCG@10 by five-fold cross-validation: a question's fusion was fitted on the other folds."
    if "interleaving" in parts:
        yield from interleaving(parts["interleaving"])


def calibration(judge: str, model: str, figures: Figures) -> Iterator[str]:
    """Yield the section on one model's probabilities on one collection."""
    yield f"## Calibration: {model}, {NAMES[judge]}"
    yield (
        f"Fitted on {figures['fitted_on']:,} pairs of XQuAD's articles that judge nothing and of SciFact's training "
        f"claims, judged on {figures['judged_on']:,}. The threshold has a precision of 0.9 on what was fitted on."
    )
    rows = []
    for method, of in figures["methods"].items():
        known, reached = of["reliability"], of["reached"]
        threshold = f"{of['threshold']['probability']:.3f}"
        rows.append(
            [
                method,
                f"{known['ece']:.4f}",
                f"{known['brier']:.4f}",
                threshold,
                _interval(reached["precision"]),
                _interval(reached["recall"]),
            ]
        )
    yield table(["", "ECE", "Brier score", "threshold", "precision reached", "recall"], rows)
    bins = figures["methods"]["platt"]["reliability"]["bins"]
    yield f"Reliability of {model} by Platt scaling:"
    yield table(
        ["probability", "pairs", "mean", "relevant"],
        [
            [f"{b['low']:.1f} to {b['high']:.1f}", f"{b['pairs']:,}", f"{b['probability']:.3f}", f"{b['relevant']:.3f}"]
            for b in bins
        ],
    )


def answerable(model: str, figures: Figures) -> Iterator[str]:
    """Yield the section on one model's refusals."""
    yield f"## Answers refused against answers wrong: {model}"
    yield (
        f"{figures['questions']} questions of XQuAD's judging articles, half of them with the right paragraph taken "
        f"out; {figures['answered']} have it among the five kept. Fitted on the other articles."
    )
    rows = []
    for way, of in figures["ways"].items():
        rows.append([way, f"{of['ece']:.3f}", f"{of['mean_wrong']:.3f}", *(f"{p['wrong']:.3f}" for p in of["curve"])])
    shares = [f"wrong, {p['refused']:.0%} refused" for p in next(iter(figures["ways"].values()))["curve"]]
    yield table(["", "ECE", "mean wrong", *shares], rows)


def interleaving(figures: Figures) -> Iterator[str]:
    """Yield the section on interleaving."""
    yield "## Interleaving: how soon the better reranker is known"
    yield (
        f"{figures['experiments']} simulated experiments of at most {figures['impressions']:,} impressions with a "
        "winner, the test read after each, alpha 0.05."
    )
    yield table(
        ["the better side wins", "decided", "rightly", "within 500", "impressions, median"],
        [
            [
                f"{float(rate):.0%}",
                f"{of['decided']:.1%}",
                "-" if float(rate) == 0.5 else f"{of['right']:.1%}",
                f"{of['within_500']:.1%}",
                "-" if of["median_impressions"] is None else f"{of['median_impressions']:.0f}",
            ]
            for rate, of in figures["rates"].items()
        ],
    )
    yield "At 50 % every decision is wrong: their share is the error rate."


def _verdict(name: str, of: Figures) -> list[str]:
    _, stage, model = _parts(name)
    alpha = "-" if of["fusion"] is None else f"{of['fusion']['alpha']:g}"
    means = f"{of['before']:.3f} to {of['after']:.3f}"
    change = _interval(of["gain"]["interval"], "+")
    return [NAMES[stage], model, f"{of['questions']}", means, change, of["finding"], _figure(of["detectable"], ".3f"),
            _figure(of["depth"], "d"), alpha]  # fmt: skip


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _deep(evaluation: Path) -> Iterator[list[str]]:
    """Yield verdicts from the evaluation's figures, which have no depth curve on these collections."""
    for file in sorted(evaluation.glob("*-*.json")):
        stage, _, model = file.stem.partition("-")
        if stage in DEEP:
            figures = json.loads(file.read_text("utf-8"))
            found = next(d["comparison"] for d in figures["differences"] if d["measure"] == "nDCG@10")
            gain = found["interval"]
            before = figures["first_stage"]["nDCG@10"]["mean"]
            finding = finding_of(Comparison(**found | {"interval": Interval(**gain)}), figures["judged"], Settings())
            means = f"{before:.3f} to {before + gain['mean']:.3f}"
            yield [DEEP[stage], model, f"{figures['judged']}", means, _interval(gain, "+"), finding, "-", "-", "-"]


def _fusion(name: str, of: Figures) -> list[str]:
    _, stage, model = _parts(name)
    means = [f"{mean:.3f}" for mean in of["means"].values()]
    return [NAMES[stage], model, *means, _interval(of["over_rrf"]["interval"], "+")]


def _parts(name: str) -> tuple[str, str, str]:
    kind, _, rest = name.partition("-")
    stage, _, model = rest.rpartition("-")
    return kind, stage, model


def _interval(figures: Figures, sign: str = "") -> str:
    return f"{figures['mean']:{sign}.3f} [{figures['low']:{sign}.3f}, {figures['high']:{sign}.3f}]"

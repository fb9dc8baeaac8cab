"""Plots of evaluations and rankings with matplotlib: one function each, which draws into an ``Axes`` and returns it.

::

    from secondpass.evaluation import plots

    evaluation = evaluate({"small": load_scorer("small"), "nano": load_scorer("nano")}, read_beir("scifact"))
    plots.quality_by_latency(evaluation)
    plots.save(evaluation, "figures")
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from secondpass.errors import ConfigurationError, InputError, require

require("secondpass.evaluation.plots", "eval", "matplotlib")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondpass.ranking import Ranking

if TYPE_CHECKING:
    from secondpass.evaluation.measures import Interval
    from secondpass.evaluation.results import Evaluation, SystemResult

_GREY = "#8b949e"
_RELEVANT, _OTHERS = "#2f81d6", "#d9822b"
_SHARES = (-0.03, 1.03)  # the limits of an axis of shares: a point at 0 or 1 is seen whole


def score_distributions(
    system: "SystemResult", *, relevant_from: int = 1, bins: int = 30, ax: Axes | None = None
) -> Axes:
    """Draw how the scores of relevant candidates, and those of all others, are distributed: shares that add up to 1.

    Probabilities are drawn where the scorer's scale has them, else raw scores. Candidates without a judgement count as
    not relevant, as they do to the measures.

    :param system: One of ``Evaluation.systems``.
    :param relevant_from: The lowest grade of a relevant candidate.
    :param bins: The number of bins, of equal width.
    :param ax: Where to draw; None makes a new figure.
    :raises InputError: If there is no score.
    """
    ax = _axes(ax)
    probabilities = [item.probability for item in system.scores if item.probability is not None]
    values = probabilities if len(probabilities) == len(system.scores) else [item.score for item in system.scores]
    relevant = _relevant(system, relevant_from)
    edges = np.linspace(0.0, 1.0, bins + 1) if values is probabilities else np.histogram_bin_edges(values, bins)
    for side, name, colour in ((True, "relevant", _RELEVANT), (False, "other", _OTHERS)):
        chosen = np.asarray(values)[relevant == side]
        weights = np.full(len(chosen), 1 / max(len(chosen), 1))
        ax.hist(chosen, bins=list(edges), weights=weights, label=f"{name} ({len(chosen):,})", color=colour, alpha=0.55)
    ax.set(xlabel="probability" if values is probabilities else "score", ylabel="share of candidates")
    ax.set_title(system.name, loc="left")
    ax.legend(frameon=False)
    return ax


def reliability(system: "SystemResult", *, relevant_from: int = 1, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Draw a reliability diagram: of the candidates with about the same probability, the share that is relevant.

    A calibrated model lies on the diagonal. The title has the expected calibration error, the mean distance from it
    weighted by candidates. DeGroot and Fienberg, "The comparison and evaluation of forecasters", 1983; Guo et al., "On
    calibration of modern neural networks", ICML 2017.

    :param system: One of ``Evaluation.systems``, of a scorer whose scale has probabilities.
    :param relevant_from: The lowest grade of a relevant candidate.
    :param bins: The number of bins of equal width from 0 to 1; empty ones have no point.
    :param ax: Where to draw; None makes a new figure.
    :raises InputError: If there is no score, or one without a probability.
    """
    relevant = _relevant(system, relevant_from)
    values = [item.probability for item in system.scores]
    if None in values:
        raise InputError(f"a reliability diagram needs probabilities, and the scale of {system.name!r} has none")
    ax, probabilities = _axes(ax), np.asarray(values, dtype=np.float64)
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    filled = counts > 0
    predicted = np.bincount(which, probabilities, bins)[filled] / counts[filled]
    observed = np.bincount(which, relevant, bins)[filled] / counts[filled]
    error = float(np.average(np.abs(predicted - observed), weights=counts[filled]))
    ax.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="calibrated")
    ax.plot(predicted, observed, marker="o", label=system.name)
    ax.set(xlabel="mean probability", ylabel="share relevant", xlim=_SHARES, ylim=_SHARES)
    ax.set_title(f"{system.name}, calibration error {error:.3f}", loc="left")
    return ax


def quality_by_budget(evaluation: "Evaluation", *, ax: Axes | None = None) -> Axes:
    """Draw how often the answer is in the context at each budget, for the first stage's top k and each second pass.

    Bands are the bootstrap intervals. The axis of budgets is logarithmic.

    :param evaluation: An evaluation with budgets.
    :param ax: Where to draw; None makes a new figure.
    :raises InputError: If it has no budgets.
    """
    if not any(system.contexts for system in evaluation.systems):
        raise InputError("the evaluation has no context budgets: evaluate with Settings(budgets=(256, 1024))")
    ax = _axes(ax)
    first = evaluation.systems[0].contexts
    _curve(ax, [point.budget for point in first], [point.top_k.share for point in first], "first stage", _GREY)
    for system in evaluation.systems:
        points = system.contexts
        _curve(ax, [point.budget for point in points], [point.second_pass.share for point in points], system.name)
    ax.set_xscale("log", base=2)
    ax.set_xticks([point.budget for point in first], [f"{point.budget:,}" for point in first])
    ax.minorticks_off()
    ax.set(xlabel="context budget in tokens", ylabel=f"{evaluation.context_target} in context", ylim=_SHARES)
    ax.set_title(evaluation.collection, loc="left")
    ax.legend(frameon=False)
    return ax


def quality_by_depth(evaluation: "Evaluation", *, measure: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a measure against the number of reranked candidates, from 0, which is the first stage.

    :param evaluation: An evaluation with depths.
    :param measure: The measure's name; None takes the first.
    :param ax: Where to draw; None makes a new figure.
    :raises ConfigurationError: If the evaluation hasn't this measure.
    :raises InputError: If it has no depths.
    """
    measure, ax = _measure(evaluation, measure), _axes(ax)
    for system in evaluation.systems:
        points = system.depths
        _curve(ax, [point.depth for point in points], [point.quality[measure] for point in points], system.name)
    ax.set(xlabel="reranked candidates", ylabel=measure)
    ax.set_title(evaluation.collection, loc="left")
    ax.legend(frameon=False)
    return ax


def quality_by_latency(evaluation: "Evaluation", *, measure: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a measure against the median milliseconds of reranking, a point for each depth, which is written beside it.

    The axis of times is logarithmic. The first stage is the dashed line. Depths that weren't timed have no point.

    :param evaluation: An evaluation with timed depths.
    :param measure: The measure's name; None takes the first.
    :param ax: Where to draw; None makes a new figure.
    :raises ConfigurationError: If the evaluation hasn't this measure.
    :raises InputError: If it has no depths.
    """
    measure, ax = _measure(evaluation, measure), _axes(ax)
    for system in evaluation.systems:
        timed = [(point, point.timing.median_ms) for point in system.depths if point.timing and point.timing.median_ms]
        ax.plot([ms for _, ms in timed], [point.quality[measure].mean for point, _ in timed], "o-", label=system.name)
        for point, ms in timed:
            place = (ms, point.quality[measure].mean)
            ax.annotate(f"{point.depth}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
    ax.axhline(evaluation.first_stage[measure].mean, color=_GREY, linestyle="--", label="first stage")
    ax.set(xlabel="milliseconds a query (median)", ylabel=measure, xscale="log")
    ax.set_title(evaluation.collection, loc="left")
    ax.legend(frameon=False)
    return ax


def rank_movement(ranking: Ranking, *, dropped: int = 50, ax: Axes | None = None) -> Axes:
    """Draw a line from each kept candidate's first-stage rank to its final rank; dropped ones are grey points.

    :param ranking: A ranking.
    :param dropped: How many of the dropped candidates are drawn, the best first.
    :param ax: Where to draw; None makes a new figure.
    """
    ax = _axes(ax)
    for item in sorted(ranking.kept, key=lambda item: item.rank):
        colour = _GREY if item.rank == item.rank_before else _RELEVANT if item.rank < item.rank_before else _OTHERS
        ax.plot([0, 1], [item.rank_before, item.rank], "o-", color=colour, markersize=4)
    drawn = [item.rank_before for item in ranking.dropped[:dropped]]
    ax.plot([0] * len(drawn), drawn, ".", color=_GREY, label="dropped")
    ax.set_xticks([0, 1], ["first stage", "second pass"])
    ax.set(xlim=(-0.15, 1.15), ylabel="rank")
    ax.invert_yaxis()
    ax.set_title(f"kept {len(ranking.kept):,} of {len(ranking.kept) + len(ranking.dropped):,}", loc="left")
    return ax


def save(evaluation: "Evaluation", folder: str | PathLike[str]) -> list[Path]:
    """Draw every plot that the evaluation has figures for into PNG files of a folder, and return their paths.

    :param evaluation: The evaluation.
    :param folder: The folder, which is created where there is none.
    :raises OSError: If a file can't be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scored = [system for system in evaluation.systems if system.scores]
    calibrated = [system for system in scored if all(item.probability is not None for item in system.scores)]
    grade = int(evaluation.settings["relevant_from"])
    figures = {}
    for name, systems, draw in (
        ("scores", scored, score_distributions),
        ("reliability", calibrated, reliability),
    ):
        if systems:
            figures[name] = Figure(figsize=(5 * len(systems), 4), layout="constrained")
            for ax, system in zip(figures[name].subplots(1, len(systems), squeeze=False)[0], systems, strict=True):
                draw(system, relevant_from=grade, ax=ax)
    depths, measures = any(system.depths for system in evaluation.systems), bool(evaluation.measures)
    timed = any(point.timing for system in evaluation.systems for point in system.depths)
    for name, has_figures, plot in (
        ("budget", any(system.contexts for system in evaluation.systems), quality_by_budget),
        ("depth", depths and measures, quality_by_depth),
        ("latency", timed and measures, quality_by_latency),
    ):
        if has_figures:
            figures[name] = Figure(figsize=(6, 4), layout="constrained")
            plot(evaluation, ax=figures[name].subplots())
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return [folder / f"{name}.png" for name in figures]


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def _curve(ax: Axes, places: Sequence[int], values: "Sequence[Interval]", name: str, colour: str | None = None) -> None:
    """Draw means with a band for their intervals, where they have some."""
    (line,) = ax.plot(places, [value.mean for value in values], "o-", label=name, color=colour)
    low = [value.mean if value.low is None else value.low for value in values]
    high = [value.mean if value.high is None else value.high for value in values]
    ax.fill_between(places, low, high, color=line.get_color(), alpha=0.12, linewidth=0)


def _measure(evaluation: "Evaluation", measure: str | None) -> str:
    if not any(system.depths for system in evaluation.systems):
        raise InputError("the evaluation has no depths: evaluate with Settings(depths=(10, 50, 100))")
    if not evaluation.measures or measure not in {None, *evaluation.measures}:
        raise ConfigurationError(f"the measure must be one of {evaluation.measures}, got {measure!r}")
    return measure or evaluation.measures[0]


def _relevant(system: "SystemResult", relevant_from: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    if not system.scores:
        raise InputError(f"the system {system.name!r} has no scores of judged queries")
    return np.array([(item.grade or 0) >= relevant_from for item in system.scores])

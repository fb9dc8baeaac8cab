"""Plots: the drawn lines and bars are the records' figures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra eval isn't installed")
pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
import matplotlib as mpl
from evaluation_collections import CORPUS, QUICK, animals, write_beir
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from worlds import Failing, Scripted

from secondpass import OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation import Evaluation, Settings, evaluate, plots
from secondpass.evaluation.results import JudgedScore
from secondpass.records import Scale, ScaleKind, Spec

GOOD = Scripted({CORPUS["fox"]: 5.0, CORPUS["whale"]: 6.0, CORPUS["moon"]: 7.0, CORPUS["bee"]: 5.5})


class Unscaled(Scripted):
    """Returns given values on an unknown scale."""

    spec = Spec("unscaled", Scale(ScaleKind.UNKNOWN), fingerprint="unscaled")


@pytest.fixture(autouse=True)
def agg() -> Iterator[None]:
    """Draw without a screen, and close what was drawn."""
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result() -> Evaluation:
    """Return the evaluation of two systems."""
    return evaluate({"good": GOOD, "overlap": OverlapScorer()}, animals(), settings=QUICK)


def lines(ax: Any) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line by its label."""
    drawn = ((line.get_label(), line.get_xdata(), line.get_ydata()) for line in ax.get_lines())
    return {label: [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)] for label, xs, ys in drawn}


def test_scores_of_judged_queries_come_with_their_grades(result: Evaluation) -> None:
    """The evaluation keeps each candidate's score, probability and grade, and leaves them out of its plain data."""
    scores = result.systems[0].scores
    assert len(scores) == sum(len(run) for run in animals().run.values())
    assert (5.0, 2) in [(item.score, item.grade) for item in scores]
    assert (0.0, None) in [(item.score, item.grade) for item in scores]
    assert "scores" not in result.to_dict()["systems"][0]


def test_distributions_have_a_bar_for_each_bin(result: Evaluation) -> None:
    """Of four candidates in two bins the bars are the shares of the relevant, and of the others."""
    scores = tuple(JudgedScore(0.0, p, grade) for p, grade in ((0.1, 1), (0.9, 1), (0.8, 0), (0.7, None)))
    ax = plots.score_distributions(replace(result.systems[0], scores=scores), bins=2)
    heights = {bars[0].get_label(): [float(bar.get_height()) for bar in bars] for bars in ax.containers}
    assert heights == {"relevant (2)": [0.5, 0.5], "other (2)": [0.0, 1.0]}
    assert ax.get_xlabel() == "probability"


def test_distributions_of_a_scale_without_probabilities_are_of_raw_scores() -> None:
    """On an unknown scale the bins reach from the lowest to the highest score."""
    (system,) = evaluate(Unscaled({CORPUS["fox"]: 30.0}), animals(), settings=QUICK).systems
    ax = plots.score_distributions(system, bins=3)
    assert ax.get_xlabel() == "score"
    assert [bar.get_x() for bar in ax.containers[0]] == pytest.approx([0.0, 10.0, 20.0])


def test_a_reliability_diagram_has_the_share_that_is_relevant(result: Evaluation) -> None:
    """Each filled bin has a point at its mean probability and its share of relevant ones; 1.0 is in the last bin."""
    scores = tuple(JudgedScore(0.0, p, grade) for p, grade in ((0.1, 0), (0.3, 1), (0.8, 2), (1.0, 1)))
    ax = plots.reliability(replace(result.systems[0], scores=scores), bins=2)
    assert lines(ax)["good"] == [pytest.approx((0.2, 0.5)), pytest.approx((0.9, 1.0))]
    assert ax.get_title(loc="left") == "good, calibration error 0.200"
    assert lines(plots.reliability(replace(result.systems[0], scores=scores), bins=2, relevant_from=2))["good"] == [
        pytest.approx((0.2, 0.0)),
        pytest.approx((0.9, 0.5)),
    ]


def test_a_reliability_diagram_needs_probabilities() -> None:
    """A system of an unknown scale, and one without a score, are refused by name."""
    (unscaled,) = evaluate(Unscaled({}), animals(), settings=QUICK).systems
    with pytest.raises(InputError, match="'unscaled' has none"):
        plots.reliability(unscaled)
    (failed,) = evaluate(Failing(), animals(), settings=QUICK).systems
    for plot in (plots.reliability, plots.score_distributions):
        with pytest.raises(InputError, match="has no scores of judged queries"):
            plot(failed)


def test_quality_by_budget_is_answer_in_context(result: Evaluation) -> None:
    """Each system's line, and the first stage's, has the share at each budget, with its interval as a band."""
    ax = plots.quality_by_budget(result)
    drawn = lines(ax)
    assert set(drawn) == {"first stage", "good", "overlap"}
    for system in result.systems:
        assert drawn[system.name] == [(point.budget, point.second_pass.share.mean) for point in system.contexts]
    assert drawn["first stage"] == [(point.budget, point.top_k.share.mean) for point in result.systems[0].contexts]
    assert len(ax.collections) == 3


def test_quality_by_depth_begins_with_the_first_stage(result: Evaluation) -> None:
    """Each line has the measure at depth 0, the first stage's, and at the depths; another measure may be chosen."""
    drawn = lines(plots.quality_by_depth(result))
    assert drawn["good"][0] == (0, result.first_stage["nDCG@10"].mean)
    assert [depth for depth, _ in drawn["good"]] == [0, 1, 2, 4]
    recall = lines(plots.quality_by_depth(result, measure="R@100"))["good"]
    assert recall[-1][1] == result.systems[0].depths[-1].quality["R@100"].mean


def test_quality_by_latency_has_a_point_for_each_timed_depth(result: Evaluation) -> None:
    """Each point is at a depth's median milliseconds, with the depth beside it; the first stage is a level line."""
    ax = plots.quality_by_latency(result)
    (_, *points) = result.systems[0].depths
    assert lines(ax)["good"] == [
        (point.timing.median_ms, point.quality["nDCG@10"].mean) for point in points if point.timing
    ]
    assert {y for _, y in lines(ax)["first stage"]} == {result.first_stage["nDCG@10"].mean}
    assert [text.get_text() for text in ax.texts] == ["1", "2", "4"] * 2


def test_rank_movement_joins_both_ranks() -> None:
    """The best, third at first, is joined with rank 1; the dropped one is a point without a line."""
    scores = {"first": 1.0, "second": 0.0, "third": 2.0}
    ranking = Reranker(Scripted(scores), selection=Selection(top_n=2)).rerank("query", [*scores])
    ax = plots.rank_movement(ranking)
    drawn = [(list(map(float, line.get_ydata())), to_hex(line.get_color())) for line in ax.get_lines()]
    assert drawn == [([3.0, 1.0], "#2f81d6"), ([1.0, 2.0], "#d9822b"), ([2.0], "#8b949e")]
    assert ax.yaxis_inverted()
    assert plots.rank_movement(Reranker(Scripted({})).rerank("query", [])).get_title(loc="left") == "kept 0 of 0"


def test_plots_draw_into_the_given_axes(result: Evaluation) -> None:
    """Every function draws into ``ax`` and returns it."""
    ranking = Reranker(GOOD).rerank("query", ["text"])
    for plot, drawn in (
        (plots.score_distributions, result.systems[0]),
        (plots.reliability, result.systems[0]),
        (plots.quality_by_budget, result),
        (plots.quality_by_depth, result),
        (plots.quality_by_latency, result),
        (plots.rank_movement, ranking),
    ):
        ax = plt.figure().subplots()
        assert plot(drawn, ax=ax) is ax


def test_what_an_evaluation_lacks_is_named(result: Evaluation) -> None:
    """A wrong measure is refused with those there are; without depths or budgets the settings to give are named."""
    with pytest.raises(ConfigurationError, match=r"must be one of .*'nDCG@10'.*, got 'MRR'"):
        plots.quality_by_depth(result, measure="MRR")
    bare = evaluate(GOOD, animals(), settings=Settings(depths=(), budgets=()))
    for plot in (plots.quality_by_depth, plots.quality_by_latency):
        with pytest.raises(InputError, match="no depths: evaluate with"):
            plot(bare)
    with pytest.raises(InputError, match="no context budgets: evaluate with"):
        plots.quality_by_budget(bare)


def test_save_draws_what_there_are_figures_for(result: Evaluation, tmp_path: Path) -> None:
    """All five plots of a whole evaluation, and two of one without curves, are PNG files that are not blank."""
    files = plots.save(result, tmp_path / "all")
    assert [file.stem for file in files] == ["scores", "reliability", "budget", "depth", "latency"]
    for file in files:
        assert np.ptp(plt.imread(file)) > 0.5
    bare = evaluate(GOOD, animals(), settings=Settings(depths=(), budgets=()))
    assert [file.stem for file in plots.save(bare, tmp_path / "bare")] == ["scores", "reliability"]


def test_the_command_draws_into_a_folder(tmp_path: Path) -> None:
    """``evaluate --plots`` makes the folder and its files, beside the tables."""
    pytest.importorskip("typer", reason="the extra cli isn't installed")
    from typer.testing import CliRunner

    from secondpass.cli import app

    options = ["--depths", "1", "--timed", "1", "--budgets", "8", "--plots", str(tmp_path / "plots")]
    beir = write_beir(tmp_path / "animals")
    done = CliRunner().invoke(app, ["evaluate", "--model", "overlap", "--beir", str(beir), *options])
    assert done.exit_code == 0
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == [
        "budget.png",
        "depth.png",
        "latency.png",
        "reliability.png",
        "scores.png",
    ]

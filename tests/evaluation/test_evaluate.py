"""The whole evaluation: without and with the second pass, side by side."""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
from evaluation_collections import CORPUS, QUICK, RUN, animals, orders
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import finite
from worlds import Failing, Scripted

from benchmarks.trec_json import read_trec_json
from secondpass import Cascade, ReciprocalRank, Reranker, Selection, errors, load_scorer
from secondpass.errors import ConfigurationError, MissingExtra, ScoringError
from secondpass.evaluation import Measures, Sampling, Settings, evaluate
from secondpass.evaluation.systems import SecondPass, name_systems
from secondpass.records import Call, Pair, Scored, Stage, Unscored, UnscoredReason
from secondpass.scoring.scorer import OverlapScorer

GOOD = Scripted({CORPUS["fox"]: 5.0, CORPUS["whale"]: 6.0, CORPUS["moon"]: 7.0, CORPUS["bee"]: 5.5})
BAD = Scripted({CORPUS["dog"]: 9.0})


class Counting(Scripted):
    """Counts the tokens that it read."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        scored = super().score_pairs(pairs, call=call)
        return replace(scored, stages=(Stage("score", 0.5, {"tokens": 10 * len(pairs)}),))


class PartlyFailing(Scripted):
    """Fails on one question, and leaves a candidate of another one unscored."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        if pairs[0].query == "red fox":
            raise ScoringError("failed")
        return super().score_pairs(pairs, call=call)


def test_a_scorer_and_a_collection_are_enough() -> None:
    """A scorer and a collection give quality without and with, the difference, cost, both curves, and what moved."""
    result = evaluate(GOOD, animals(), settings=QUICK)
    (system,) = result.systems
    assert (result.queries, result.judged, result.context_queries) == (3, 3, 3)
    assert result.measures == ("nDCG@10", "RR@10", "R@100")
    assert result.first_stage["RR@10"].mean == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)
    assert system.quality["RR@10"].mean == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert [item.measure for item in result.differences] == list(result.measures)
    assert [point.depth for point in system.depths] == [0, 1, 2, 4]
    assert [point.budget for point in system.contexts] == [6, 12]
    assert [changed.query for changed in system.won] == ["q3", "q1", "q2"]
    assert system.completeness.problems() == ""


def test_values_are_those_of_the_order_that_was_kept() -> None:
    """Per-query values are the measures of the first stage's order, and of the one that the scorer gives."""
    collection = animals()
    result = evaluate(GOOD, collection, measures=["nDCG@10", "P@1"], settings=QUICK)
    measures = Measures(["nDCG@10", "P@1"], collection.qrels)
    assert result.per_query["first stage"] == measures.per_query(orders(collection))
    ranked = {"q1": ["moon", "fox", "dog"], "q2": ["whale", "bee", "fox", "dog"], "q3": ["moon", "fox"]}
    assert result.per_query["scripted"] == measures.per_query(ranked)


def test_reranker_is_measured_by_its_own_rules() -> None:
    """What a reranker's top-k drops is gone from its figures; the reading order changes nothing."""
    reranker = Reranker(GOOD, selection=Selection(top_n=1, order="original"))
    result = evaluate({"one": reranker, "all": GOOD}, animals(), measures=["R@2"], settings=QUICK)
    assert result.per_query["one"]["R@2"] == {"q1": 0.0, "q2": 0.5, "q3": 1.0}
    assert result.per_query["all"]["R@2"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    ends = Reranker(GOOD, selection=Selection(order="ends"))
    assert evaluate(ends, animals(), measures=["nDCG@10"], settings=QUICK).per_query["scripted"]["nDCG@10"]["q2"] == 1.0


def test_systems_are_compared_with_the_first_stage_and_with_each_other() -> None:
    """Every pair is there, and the second is compared with the first."""
    result = evaluate({"good": GOOD, "bad": BAD}, animals(), measures=["RR"], settings=QUICK)
    pairs = [(item.before, item.after) for item in result.differences]
    assert pairs == [("first stage", "good"), ("first stage", "bad"), ("good", "bad")]
    worse = result.differences[2].comparison
    assert worse.interval.mean == pytest.approx(
        result.systems[1].quality["RR"].mean - result.systems[0].quality["RR"].mean
    )
    assert (worse.won, worse.lost + worse.tied) == (0, 3)


def test_moved_candidates_tell_rank_grade_and_score() -> None:
    """A query that was won shows what moved, where from and where to; the relevant one that rose is among them."""
    won = evaluate(GOOD, animals(), measures=["RR"], settings=QUICK).systems[0].won[0]
    assert (won.query, won.text, won.before, won.after) == ("q3", "old cold moon", 0.5, 1.0)
    assert [(item.id, item.before, item.after, item.grade) for item in won.moves] == [
        ("fox", 1, 2, None),
        ("moon", 2, 1, 3),
    ]
    lost = evaluate(BAD, animals(), measures=["RR"], settings=QUICK).systems[0].lost
    assert [changed.query for changed in lost] == ["q2"]
    sank, rose = lost[0].moves  # the first rank weighs more than the second
    assert (rose.id, rose.before, rose.after, rose.grade, rose.score) == ("dog", 2, 1, None, 9.0)
    assert (sank.id, sank.before, sank.after, sank.grade, sank.score) == ("whale", 1, 2, 1, 0.0)
    assert lost[0].after - lost[0].before == -0.5


def test_dropped_candidates_have_no_rank_after() -> None:
    """A candidate that a reranker dropped has moved out."""
    reranker = Reranker(BAD, selection=Selection(top_n=1))
    lost = evaluate(reranker, animals(), measures=["RR"], settings=QUICK).systems[0].lost
    moved = {item.id: item.after for changed in lost for item in changed.moves}
    assert moved["whale"] is None


def test_names_are_unique() -> None:
    """Scorers of one name are numbered, fusion is part of a name, and a mapping's names are the caller's."""
    given: list[SecondPass] = [GOOD, BAD, Reranker(GOOD, fusion=ReciprocalRank()), GOOD]
    names = [system.name for system in name_systems(given)]
    assert names == ["scripted", "scripted #2", "scripted + ReciprocalRank", "scripted #3"]
    assert [system.name for system in name_systems({"mine": GOOD})] == ["mine"]


@pytest.mark.parametrize("given", [[], {}, {"first stage": GOOD}, ["overlap"], "overlap", None])
def test_what_is_no_second_pass_is_refused(given: Any) -> None:
    """Nothing, a taken name, or what can't score is a configuration error."""
    with pytest.raises(ConfigurationError, match=r"reranker or scorer|Reranker or a Scorer"):
        evaluate(given, animals(), settings=QUICK)


def test_cost_is_measured_beside_quality() -> None:
    """Milliseconds, tokens and candidates a query; a scorer that says nothing of tokens has None."""
    cost = evaluate(Counting({}), animals(), settings=QUICK).systems[0].cost
    assert (cost.queries, cost.tokens, cost.candidates) == (3, 30, 3)
    assert cost.stages_ms["score"] == pytest.approx(500)
    assert cost.median_ms is not None
    assert evaluate(GOOD, animals(), settings=QUICK).systems[0].cost.tokens is None


def test_degraded_passes_are_counted_and_shown() -> None:
    """A broken pass is counted by its cause, stays out of the cost, and has a table without it."""
    scorer = PartlyFailing({**GOOD.script, CORPUS["dog"]: Unscored(UnscoredReason.INVALID)})
    result = evaluate(scorer, animals(), measures=["RR"], settings=QUICK)
    (system,) = result.systems
    assert system.completeness.degraded == {"scorer failed": 1}
    assert system.completeness.unscored == {"failed": 3, "invalid": 1}
    assert system.cost.queries == 2
    assert [(item.queries, item.before, item.after) for item in system.without_degraded] == [(2, 0.75, 1.0)]
    assert result.per_query["scripted"]["RR"]["q1"] == result.per_query["first stage"]["RR"]["q1"]
    text = result.to_markdown()
    assert "1 of 3 passes degraded (scorer failed: 1), 4 candidates without a score (failed: 3, invalid: 1)" in text
    assert "Without the degraded passes of scripted" in text


def test_scorer_that_never_works_has_no_cost() -> None:
    """Where every pass is degraded there is no cost and no mean without them, and the result says so."""
    (system,) = evaluate(Failing(), animals(), settings=QUICK).systems
    assert system.completeness.degraded == {"scorer failed": 3}
    assert (system.cost.median_ms, system.cost.tokens, system.without_degraded) == (None, None, ())


def test_failure_is_raised_where_the_reranker_says_so() -> None:
    """``on_error="raise"`` holds in an evaluation too."""
    with pytest.raises(ScoringError):
        evaluate(Reranker(Failing(), on_error="raise"), animals(), settings=QUICK)


def test_collection_of_answers_alone_has_only_the_context() -> None:
    """Without judgements there are no measures, and from one query there is no interval; the rest is computed."""
    result = evaluate(GOOD, animals(qrels={}, answers={"q1": ["quick"]}), settings=replace(QUICK, budgets=(100,)))
    assert (result.measures, result.differences, result.judged, result.context_queries) == ((), (), 0, 1)
    assert result.context_target == "answer"
    assert result.systems[0].contexts[0].second_pass.share.mean == 1.0
    assert "## Answer in context" in result.to_markdown()
    assert "## Quality" not in result.to_markdown()


def test_curves_can_be_left_out() -> None:
    """Empty depths and budgets give neither curves nor sections."""
    result = evaluate(GOOD, animals(), settings=replace(QUICK, depths=(), budgets=(), listed_queries=0))
    assert (result.systems[0].depths, result.systems[0].contexts, result.systems[0].won) == ((), (), ())
    assert [line for line in result.to_markdown().splitlines() if line.startswith("## ")] == [
        "## Quality",
        "## Differences",
        "## Cost a query",
        "## Verdict",
    ]


def test_untimed_curve_has_quality_alone() -> None:
    """``timed_queries=0`` measures no milliseconds."""
    depths = evaluate(GOOD, animals(), settings=replace(QUICK, timed_queries=0)).systems[0].depths
    assert [point.timing for point in depths] == [None] * 4


def test_query_without_candidates_counts_0() -> None:
    """A judged query for which the first stage result nothing stays in every mean, as 0."""
    run = {query: run for query, run in RUN.items() if query != "q1"}
    result = evaluate(GOOD, animals(run=run), measures=["RR"], settings=QUICK)
    assert result.per_query["scripted"]["RR"]["q1"] == 0.0
    assert result.systems[0].cost.queries == 2
    assert result.judged == 3


def test_progress_is_reported() -> None:
    """The callback is called after every query, and after every timed one."""
    calls: list[tuple[str, int, int]] = []
    evaluate(GOOD, animals(), settings=QUICK, progress=lambda *what: calls.append(what))
    assert calls == [("reranking with scripted", n, 3) for n in (1, 2, 3)] + [("timing scripted", 1, 1)]


def test_results_are_plain_data_and_frozen() -> None:
    """``to_dict`` survives JSON as it is, and nothing can be changed afterwards."""
    result = evaluate([GOOD, PartlyFailing(GOOD.script)], animals(), settings=QUICK)
    data = result.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["systems"][0]["contexts"][0]["second_pass"]["share"].keys() == {"mean", "low", "high"}
    assert data["settings"]["counter"] == "estimate"
    assert data["per_query"]["scripted"]["nDCG@10"].keys() == {"q1", "q2", "q3"}
    with pytest.raises(FrozenInstanceError):
        result.collection = "other"  # type: ignore[misc]


def test_tables_hold_whatever_text_comes() -> None:
    """Bars and line ends in ids, questions and texts don't break a table."""
    queries = {"q1": "red | fox\nor not", "q2": "whale", "q3": "moon"}
    text = evaluate(GOOD, animals(queries=queries), settings=QUICK).to_markdown()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert "red ¦ fox or not" in text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"depths": (10, 5)}, "depths must be whole numbers from 1"),
        ({"depths": (0,)}, "depths must be"),
        ({"budgets": (5, 5)}, "budgets must be"),
        ({"timed_queries": -1}, "timed_queries must be 0 or more"),
        ({"counter": 3}, "a token counter must be"),
    ],
)
def test_settings_are_checked(setting: dict[str, Any], said: str) -> None:
    """A setting that can't work is refused when it is made."""
    with pytest.raises(ConfigurationError, match=said):
        Settings(**setting)


@pytest.mark.parametrize("package", ["bm25s", "Stemmer", "ir_measures", "pytrec_eval", "scipy"])
def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without one of its libraries the import says which extra brings it, before anything else is imported."""
    for name in [name for name in sys.modules if name.startswith("secondpass.evaluation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(
        MissingExtra, match=rf'secondpass.evaluation needs {package}, .*pip install "secondpass\[eval\]"'
    ):
        importlib.import_module("secondpass.evaluation")
    assert not any(name.startswith("secondpass.evaluation.") for name in sys.modules)


@settings(max_examples=15)
@given(st.lists(finite, min_size=6, max_size=6))
def test_curves_end_where_the_measures_are(values: list[float]) -> None:
    """Whatever the scores: depth 0 is the first stage, the greatest depth is the second pass, budgets only help."""
    scorer = Scripted(dict(zip(CORPUS.values(), values, strict=True)))
    quick = replace(QUICK, timed_queries=0, budgets=(5, 200), sampling=Sampling(resamples=100))
    result = evaluate(scorer, animals(), measures=["nDCG@10"], settings=quick)
    (system,) = result.systems
    assert system.depths[0].quality == result.first_stage
    assert system.depths[-1].quality == system.quality
    assert [point.second_pass.share.mean for point in system.contexts][1] == 1.0


def test_a_tiny_model_runs_end_to_end(tiny_onnx_folder: Path) -> None:
    """A real engine gives tokens, stages and truncations, and one scoring serves all curves."""
    result = evaluate(load_scorer(str(tiny_onnx_folder), engine="onnx"), animals(), settings=QUICK)
    cost = result.systems[0].cost
    assert cost.tokens is not None
    assert cost.tokens > 0
    assert list(cost.stages_ms) == ["score", "select"]
    assert result.systems[0].fingerprint


def test_real_questions_are_won_by_a_real_model(assets: Path, reranker_folder: Path) -> None:
    """On two questions of TREC DL the second pass gains, and the curve rises from the first stage to it."""
    folder = assets / "data" / "trec-dl"
    collection = read_trec_json(folder / "bm25_top100_dl19.json", folder / "qrels.dl19-passage.txt").first(2).cut(20)
    quick = replace(QUICK, depths=(5, 20), timed_queries=1, budgets=(256,), relevant_from=2)
    scorers: dict[str, SecondPass] = {
        "model": load_scorer(str(reranker_folder), engine="onnx"),
        "words": OverlapScorer(),
    }
    result = evaluate(scorers, collection, measures=["nDCG@10"], settings=quick)
    assert result.systems[0].quality["nDCG@10"].mean > result.first_stage["nDCG@10"].mean
    assert result.systems[0].depths[2].gain["nDCG@10"] > 0
    timing = result.systems[0].depths[2].timing
    assert timing is not None
    assert (timing.median_ms or 0) > 0


def test_what_a_cascade_prunes_is_no_problem() -> None:
    """Pruned candidates are counted, and aren't reported as missing scores."""
    result = evaluate(Cascade(BAD, GOOD, keep=2), animals(), settings=QUICK)
    (system,) = result.systems
    assert set(system.completeness.unscored) == {"pruned"}
    assert system.completeness.problems() == ""


def test_what_a_cascade_prunes_is_ranked_behind_the_scored() -> None:
    """A bare cascade is measured on its whole order, the pruned by their place; a reranker on what it keeps."""
    cheap = Scripted(
        {CORPUS[name]: value for name, value in {"fox": 4.0, "whale": 3.0, "dog": 2.0, "moon": 1.0}.items()}
    )
    cascade = Cascade(cheap, Scripted({CORPUS["whale"]: 1.0}), keep=1)
    collection = animals()
    result = evaluate({"bare": cascade, "own": Reranker(cascade)}, collection, measures=["R@100", "RR"], settings=QUICK)
    measures = Measures(["R@100", "RR"], collection.qrels)
    names = ["fox", "whale", "dog", "moon", "bee"]
    order = {query: sorted(ids, key=names.index) for query, ids in orders(collection).items()}
    assert result.per_query["bare"] == measures.per_query(order)
    assert result.per_query["own"] == measures.per_query({query: ids[:1] for query, ids in order.items()})
    assert result.systems[0].depths[-1].quality["R@100"].mean == 1.0

"""Measures equal to trec_eval's, on the order that is handed in, for every judged query; intervals and the test."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
import pytrec_eval
from evaluation_collections import QRELS, animals, orders, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.trec_json import read_trec_json
from secondpass.errors import ConfigurationError
from secondpass.evaluation import Measures, Sampling, read_beir, read_trec
from secondpass.evaluation.measures import Comparison, Interval, compare, interval

PAIRS = {"nDCG@10": "ndcg_cut_10", "AP(rel=2)": "map", "P(rel=2)@10": "P_10", "R(rel=2)@100": "recall_100"}
RUNS = {
    "bm25_top100_dl19": "dl19",
    "d_bert_kd_tasb_top100_dl19": "dl19",
    "open_ai_ada2_top100_dl19": "dl19",
    "bm25_top100_dl21": "dl21",
}

DOCUMENTS = list("abcdefgh")
FEW = Sampling(resamples=200)
values = st.lists(st.floats(0, 1), min_size=2, max_size=12)
grades = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1)
rankings = st.lists(st.sampled_from(DOCUMENTS), unique=True)


def straight(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]], names: set[str]) -> Any:
    return pytrec_eval.RelevanceEvaluator(qrels, names, relevance_level=2).evaluate(run)


@pytest.mark.parametrize(("name", "track"), RUNS.items())
def test_real_runs_equal_trec_eval(assets: Path, name: str, track: str) -> None:
    """On TREC DL every query's value is trec_eval's, to the last bit."""
    folder = assets / "data" / "trec-dl"
    collection = read_trec_json(folder / f"{name}.json", folder / f"qrels.{track}-passage.txt")
    ours = Measures(list(PAIRS), collection.qrels).per_query(orders(collection))
    run = {
        query: {str(item.id): 1000.0 - rank for rank, item in enumerate(candidates)}
        for query, candidates in collection.run.items()
    }
    expected = straight({q: dict(texts) for q, texts in collection.qrels.items()}, run, set(PAIRS.values()))
    for measure, trec_eval_name in PAIRS.items():
        assert ours[measure] == {query: expected[query][trec_eval_name] for query in collection.qrels}


def test_run_file_with_ties_gives_trec_evals_figures(assets: Path, dl19: list[dict[str, Any]], tmp_path: Path) -> None:
    """A run file of rounded scores, full of ties, is measured as trec_eval measures that file."""
    hits = [(str(hit["qid"]), str(hit["docid"]), round(hit["score"])) for topic in dl19[:10] for hit in topic["hits"]]
    qrels = assets / "data" / "trec-dl" / "qrels.dl19-passage.txt"
    collection = read_trec(
        write_lines(tmp_path / "run", [f"{query} Q0 {text} 1 {score} x\n" for query, text, score in hits]),
        qrels,
        write_lines(tmp_path / "queries", [f"{topic['hits'][0]['qid']}\t{topic['query']}\n" for topic in dl19[:10]]),
        write_lines(tmp_path / "texts", [f"{text}\tcontent\n" for text in {text for _, text, _ in hits}]),
    )
    run: dict[str, dict[str, float]] = {}
    for query, text, score in hits:
        run.setdefault(query, {})[text] = float(score)
    expected = straight({q: dict(texts) for q, texts in collection.qrels.items()}, run, {"ndcg_cut_10", "map"})
    ours = Measures(["nDCG@10", "AP(rel=2)"], collection.qrels).per_query(orders(collection))
    assert ours["nDCG@10"] == {query: expected[query]["ndcg_cut_10"] for query in collection.qrels}
    assert ours["AP(rel=2)"] == {query: expected[query]["map"] for query in collection.qrels}


def test_scores_tie_in_single_precision(tmp_path: Path) -> None:
    """Two scores that differ only beyond single precision are a tie to trec_eval, and so to the reader."""
    from evaluation_collections import write_trec

    lines = ["q1 Q0 dog 1 1.000000000001 x", "q1 Q0 fox 2 1.0 x", "q2 Q0 bee 1 1.00001 x", "q2 Q0 whale 2 1.0 x"]
    collection = read_trec(**write_trec(tmp_path, lines))
    assert orders(collection) == {"q1": ["fox", "dog"], "q2": ["bee", "whale"], "q3": []}
    ranked = straight({"q1": {"fox": 2}}, {"q1": {"dog": 1.000000000001, "fox": 1.0}}, {"recip_rank"})
    assert ranked["q1"]["recip_rank"] == 1.0


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [("scifact", "test", 0.676), ("nfcorpus", "test", 0.318)],
    ids=["scifact", "nfcorpus"],
)
def test_bm25_reproduces_the_known_figures(assets: Path, name: str, split: str, expected: float) -> None:
    """BM25 over a real collection gives the nDCG@10 that is known of it."""
    collection = read_beir(assets / "data" / name, split)
    per_query = Measures(["nDCG@10"], collection.qrels).per_query(orders(collection))["nDCG@10"]
    assert sum(per_query.values()) / len(per_query) == pytest.approx(expected, abs=0.0005)


@given(st.lists(st.tuples(grades, rankings), min_size=1, max_size=4))
def test_the_order_is_what_is_measured(queries: list[tuple[dict[str, int], list[str]]]) -> None:
    """Any order gives what trec_eval gives for strictly falling scores, and a query without results gives 0."""
    qrels = {str(number): judged for number, (judged, _) in enumerate(queries)}
    run = {str(number): order for number, (_, order) in enumerate(queries)}
    per_query = Measures(["nDCG@10", "AP(rel=2)"], qrels).per_query(run)
    scored = {query: {text: 9.0 - rank for rank, text in enumerate(order)} for query, order in run.items() if order}
    expected = straight(qrels, scored, {"ndcg_cut_10", "map"})
    for ours, theirs in (("nDCG@10", "ndcg_cut_10"), ("AP(rel=2)", "map")):
        assert per_query[ours] == {query: expected[query][theirs] if query in expected else 0.0 for query in qrels}


def test_values_come_in_the_judgements_order() -> None:
    """Queries without results are there, and every measure has the queries in one order."""
    per_query = Measures(["RR@10", "nDCG@10", "P@1"], QRELS).per_query({"q3": ["moon"], "q1": ["dog", "fox"]})
    assert per_query["RR@10"] == {"q1": 0.5, "q2": 0.0, "q3": 1.0}
    assert [list(by_query) for by_query in per_query.values()] == [["q1", "q2", "q3"]] * 3


def test_names_are_ir_measures_own() -> None:
    """Names come back as ir_measures writes them, each once."""
    assert Measures(["nDCG@10", "P@5", "nDCG@10"], QRELS).names == ("nDCG@10", "P@5")


def test_negative_grades_mean_not_judged() -> None:
    """A negative grade neither counts nor crashes, not even where a query has no other."""
    qrels = {"q1": {"spam": -2, "fox": 1}, "q2": {"spam": -1}}
    per_query = Measures(["RR"], qrels).per_query({"q1": ["spam", "fox"], "q2": ["spam"]})
    assert per_query["RR"] == {"q1": 0.5, "q2": 0.0}


def test_without_judgements_there_are_no_measures() -> None:
    """A collection with answers alone has nothing to measure, and that is no error."""
    collection = animals(qrels={}, answers={"q1": ["quick"]})
    measures = Measures(["nDCG@10"], collection.qrels)
    assert measures.names == ()
    assert measures.per_query(orders(collection)) == {}


@pytest.mark.parametrize("name", ["nDCGG@10", "nDCG@", "nDCG@x", "", "nDCG(x=3)@10", "__import__('os')", "ERR@10"])
def test_what_is_no_measure_is_refused(name: str) -> None:
    """A name that isn't a measure's, or that nothing installed computes, is a configuration error that shows it."""
    with pytest.raises(ConfigurationError, match=r"measure|computes") as raised:
        Measures([name], QRELS)
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize("names", [[], "nDCG@10"])
def test_measures_are_a_list(names: Any) -> None:
    """No measure, or one string in place of a list, is refused."""
    with pytest.raises(ConfigurationError, match="must be a list of at least one name"):
        Measures(names, QRELS)


@settings(max_examples=25)
@given(values)
def test_interval_lies_within_the_values(data: list[float]) -> None:
    """The bounds are in order, and no mean of resamples leaves the range of the values."""
    bounds = interval(data, FEW)
    mean, low, high = bounds.mean, bounds.low, bounds.high
    assert low is not None
    assert high is not None
    assert min(data) - 1e-12 <= low <= high <= max(data) + 1e-12
    assert min(data) - 1e-12 <= mean <= max(data) + 1e-12


def test_same_seed_same_interval() -> None:
    """Intervals can be repeated, and another seed gives another one."""
    data = [0.13, 0.41, 0.27, 0.92, 0.55, 0.38, 0.76]
    assert interval(data, Sampling(resamples=150)) == interval(data, Sampling(resamples=150))
    assert interval(data, Sampling(resamples=150)) != interval(data, Sampling(resamples=150, seed=2))


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    """Of 100 samples of a fair coin, at least 85 intervals of 95 % hold one half."""
    import numpy as np

    random = np.random.default_rng(3)
    samples = [random.integers(0, 2, size=60).tolist() for _ in range(100)]
    data = [interval(sample, Sampling(resamples=400)) for sample in samples]
    assert sum((low or 1) <= 0.5 <= (high or 0) for low, high in ((of.low, of.high) for of in data)) >= 85


def test_one_query_has_no_interval() -> None:
    """From a single value nothing can be said of the others, and its difference is no finding."""
    assert interval([0.3], FEW) == Interval(0.3, None, None)
    assert compare([0.25], [0.5], FEW) == Comparison(Interval(0.25, None, None), 1.0, won=1, lost=0, tied=0)


def test_values_that_are_all_one_have_no_width() -> None:
    """Hit rates of 1 have an interval from 1 to 1, without a warning."""
    assert interval([1.0] * 5, FEW) == Interval(1.0, 1.0, 1.0)


def test_differences_are_paired() -> None:
    """A small gain on every query is sure, although the queries differ far more among themselves."""
    before = [0.0, 0.2, 0.4, 0.6, 0.8, 0.1, 0.3, 0.5]
    comparison = compare(before, [value + 0.1 for value in before], Sampling(resamples=256))
    assert comparison.interval.mean == pytest.approx(0.1)
    assert comparison.p_value == 2 / 2**8  # exact: one of all sign patterns on each side
    assert (comparison.won, comparison.lost, comparison.tied) == (8, 0, 0)


def test_no_difference_is_no_finding() -> None:
    """Equal values give a p of 1 and an interval of 0."""
    comparison = compare([0.5, 0.2], [0.5, 0.2], FEW)
    assert comparison == Comparison(Interval(0.0, 0.0, 0.0), 1.0, won=0, lost=0, tied=2)


@settings(max_examples=25)
@given(values, st.data())
def test_comparison_is_symmetric(before: list[float], data: st.DataObject) -> None:
    """Turned around, a difference changes its sign, won and lost change places, and p stays."""
    after = data.draw(st.lists(st.floats(0, 1), min_size=len(before), max_size=len(before)))
    there, back = compare(before, after, FEW), compare(after, before, FEW)
    assert there.interval.mean == pytest.approx(-back.interval.mean)
    assert (there.won, there.lost, there.tied) == (back.lost, back.won, back.tied)
    assert 0 < there.p_value <= 1
    if len(before) <= 7:  # few enough for the exact test
        assert there.p_value == pytest.approx(back.p_value)


@pytest.mark.parametrize(
    "setting", [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 99}, {"confidence": 0.99, "resamples": 150}]
)
def test_sampling_settings_are_checked(setting: dict[str, float]) -> None:
    """A confidence outside 0 and 1, or too few resamples, is refused."""
    with pytest.raises(ConfigurationError, match="must be"):
        Sampling(**setting)  # type: ignore[arg-type]

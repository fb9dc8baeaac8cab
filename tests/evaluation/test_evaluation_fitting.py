"""Fitting on labelled questions: calibrations, thresholds, answerability, and a learned fusion."""

import math
import random
import tracemalloc
from dataclasses import replace

import pytest

pytest.importorskip("sklearn", reason="the extra eval isn't installed")
pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
from hypothesis import given
from hypothesis import strategies as st
from worlds import Scripted

from benchmarks.refusal import mean_wrong, refusal_curve
from secondpass import Candidate, Reranker
from secondpass.calibration import Method, logistic
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.evaluation import (
    AnswerCase,
    Collection,
    Labelled,
    Sampling,
    answer_cases,
    choose_threshold,
    drop_relevant,
    evaluate,
    fit_answerability,
    fit_calibration,
    fit_fusion,
    join_labelled,
    label_pairs,
    precision_recall_at,
    reliability,
)
from secondpass.records import LOGIT, Scale, ScaleKind, Spec, Unscored, UnscoredReason

SPEC = Spec("scripted", LOGIT, fingerprint="scripted")


def overconfident(pairs: int = 4000, seed: int = 0) -> Labelled:
    """Pairs whose log-odds are twice too high, and shifted by 1."""
    lots = random.Random(seed)
    values = [lots.uniform(-6, 6) for _ in range(pairs)]
    labels = [lots.random() < logistic((value - 1) / 2) for value in values]
    return Labelled(SPEC, values, labels, [str(place // 10) for place in range(pairs)])


def world(questions: int = 60, seed: int = 0) -> tuple[Scripted, Collection]:
    """Questions with eight candidates, one of them right; model, first stage and the signal ``date`` see it dimly."""
    lots = random.Random(seed)
    scores, run, qrels = {}, {}, {}
    for question in range(questions):
        right, candidates = lots.randrange(8), []
        for place in range(8):
            text = f"{question} {place}"
            scores[text] = lots.gauss(2.0 if place == right else 0.0, 1.5)
            date = lots.gauss(2.5 if place == right else 0.0, 1.0)
            candidates.append(Candidate(text, id=text, score=lots.gauss(place == right, 1.0), signals={"date": date}))
        candidates.sort(key=lambda item: -(item.score or 0.0))
        run[f"q{question}"], qrels[f"q{question}"] = candidates, {f"{question} {right}": 1}
    corpus = {text: text for text in scores}
    queries = {query: f"what is {query}" for query in run}
    return Scripted(scores), Collection("world", queries, corpus, qrels, run)


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature"])
def test_a_calibration_makes_probabilities_hold_on_other_pairs(method: Method) -> None:
    """The calibration error on pairs that it wasn't fitted on falls, and by Platt scaling the true curve is found."""
    fitted, judged = overconfident(), overconfident(seed=1)
    calibration = fit_calibration(fitted, method)
    before = reliability(judged.probabilities(), judged.labels)
    after = reliability(judged.probabilities(SPEC.calibrated(calibration)), judged.labels)
    assert after.ece < before.ece * (0.7 if method == "temperature" else 0.35)
    assert after.brier < before.brier
    if method == "platt":
        assert (calibration.slope, calibration.intercept) == pytest.approx((0.5, -0.5), abs=0.06)


@pytest.mark.parametrize("wanted", [0.8, 0.9])
def test_a_threshold_for_a_precision_holds_on_other_pairs(wanted: float) -> None:
    """The precision reached on other questions is the wanted one within its interval, and no lower threshold has it."""
    fitted, judged = overconfident(), overconfident(seed=1)
    calibration = fit_calibration(fitted)
    threshold = choose_threshold(fitted, calibration, precision=wanted)
    assert threshold.precision.mean >= wanted
    held_out = precision_recall_at(judged, threshold.probability, calibration).precision
    assert held_out.low is not None
    assert held_out.high is not None
    assert held_out.low - 0.01 <= wanted <= held_out.high + 0.01


def test_a_threshold_for_a_recall_is_the_highest_that_reaches_it() -> None:
    """Just above the chosen threshold the recall is lower than wanted."""
    labelled = overconfident(400)
    threshold = choose_threshold(labelled, recall=0.9)
    assert threshold.recall.mean >= 0.9
    assert precision_recall_at(labelled, threshold.probability + 1e-9).recall.mean < threshold.recall.mean


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_reliability_bins_hold_every_pair_once(pairs: list[tuple[float, bool]]) -> None:
    """The bins' pairs add up, and the error is at most 1."""
    result = reliability([p for p, _ in pairs], [label for _, label in pairs])
    assert sum(item.pairs for item in result.bins) == len(pairs)
    assert 0 <= result.ece <= 1
    assert all(item.low - 1e-9 <= item.probability <= item.high + 1e-9 for item in result.bins)


def test_bad_labels_are_refused_before_anything_is_fitted() -> None:
    """Empty data, one class only, grades for labels, lists of other lengths and falling scores are clear errors."""
    twenty = [float(place) for place in range(20)]
    with pytest.raises(ConfigurationError, match="at least 10 relevant and 10 other"):
        Labelled(SPEC, [], [], [])
    with pytest.raises(ConfigurationError, match="got 20 and 0"):
        Labelled(SPEC, twenty, [True] * 20, ["q"] * 20)
    with pytest.raises(InputError, match="labels must be 0 or 1, got 3"):
        Labelled(SPEC, twenty, [3] * 20, ["q"] * 20)  # type: ignore[list-item]
    with pytest.raises(InputError, match="a value, a label and a question"):
        Labelled(SPEC, twenty, [True], ["q"])
    with pytest.raises(InputError, match="finite"):
        Labelled(SPEC, [math.nan] * 20, [True] * 20, ["q"] * 20)
    with pytest.raises(InputError, match="finite"):
        Labelled(SPEC, ["1"] * 20, [True] * 20, ["q"] * 20)  # type: ignore[list-item]
    falling = Labelled(SPEC, twenty, [place < 10 for place in range(20)], ["q"] * 20)
    with pytest.raises(ConfigurationError, match="precision or recall"):
        choose_threshold(falling)
    with pytest.raises(ConfigurationError, match="no threshold reaches a precision"):
        choose_threshold(falling, precision=0.9)
    with pytest.raises(InputError, match="from 0 to 1"):
        reliability([1.5], [True])
    with pytest.raises(InputError, match="0 or 1"):
        reliability([0.5], [math.nan])  # type: ignore[list-item]
    for bins in (0, -1, 2.5):
        with pytest.raises(ConfigurationError, match="bins must be"):
            reliability([0.5], [True], bins=bins)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([float(-place) for place in range(1000)], "more often relevant"),
        ([0.7] * 1000, "must differ"),
        ([1e6 + 1e-8 * place for place in range(1000)], "must differ"),
    ],
)
def test_inverted_and_constant_scores_are_refused(method: Method, values: list[float], message: str) -> None:
    """No method calibrates scores that say nothing, or the opposite."""
    labels = [place >= 500 for place in range(1000)]
    with pytest.raises(ConfigurationError, match=message):
        fit_calibration(Labelled(SPEC, values, labels, ["q"] * 1000), method)


def test_a_method_is_refused_where_it_cannot_fit() -> None:
    """Isotonic regression on few pairs, a temperature for scores that need an offset, and an unknown method."""
    few, votes = overconfident(999), replace(overconfident(), values=[value + 20 for value in overconfident().values])
    with pytest.raises(ConfigurationError, match="needs 1000 pairs, got 999"):
        fit_calibration(few, "isotonic")
    with pytest.raises(ConfigurationError, match="no temperature fits scripted"):
        fit_calibration(votes, "temperature")
    with pytest.raises(ConfigurationError, match="method must be one of temperature, platt, isotonic"):
        fit_calibration(few, "beta")  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_the_scale_of_the_scores_does_not_matter(method: Method, scale: float) -> None:
    """Scores in other units give the same probabilities."""
    labelled = overconfident(400)
    plain = fit_calibration(labelled, method)
    scaled = fit_calibration(replace(labelled, values=[scale * value for value in labelled.values]), method)
    for value in (-4.0, 0.0, 3.0):
        assert scaled.probability(scale * value) == pytest.approx(plain.probability(value), abs=1e-3)


def test_few_pairs_give_no_certainty() -> None:
    """Fitted on 24 pairs, Platt scaling has a mean log loss below 0.5 on others, also where a threshold parts them."""
    losses = []
    for seed in range(40):
        lots = random.Random(seed)
        pairs = [(lots.gauss(2.0 if place % 2 else -2.0, 1.0), bool(place % 2)) for place in range(424)]
        fitted, judged = (
            Labelled(SPEC, [v for v, _ in part], [label for _, label in part], ["q"] * len(part))
            for part in (pairs[:24], pairs[24:])
        )
        ps = judged.probabilities(SPEC.calibrated(fit_calibration(fitted)))
        losses.append(-sum(math.log(p if label else 1 - p) for p, label in zip(ps, judged.labels, strict=True)) / 400)
    assert sum(losses) / len(losses) < 0.2
    assert max(losses) < 0.5


def test_a_threshold_on_many_questions_takes_little_memory() -> None:
    """7,000 questions with long keys are resampled in batches: at most 100 MB in all."""
    lots = random.Random(0)
    values = [lots.gauss(0, 1) for _ in range(14_000)]
    questions = [f"question {place // 2} {'x' * 500}" for place in range(14_000)]
    labelled = Labelled(SPEC, values, [lots.random() < logistic(value) for value in values], questions)
    tracemalloc.start()
    threshold = choose_threshold(labelled, precision=0.7, sampling=Sampling(resamples=400))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    assert (threshold.precision.low or 1) < threshold.precision.mean < (threshold.precision.high or 0)


def test_one_question_has_no_interval() -> None:
    """Pairs of a single question say nothing of other questions."""
    labelled = replace(overconfident(40), questions=["q"] * 40)
    assert choose_threshold(labelled, recall=0.5).recall.low is None


def test_an_unknown_scale_is_calibrated_from_its_raw_values() -> None:
    """Scores of an unknown scale get probabilities; without a calibration they have none."""
    labelled = replace(overconfident(), spec=Spec("votes", Scale(ScaleKind.UNKNOWN), "votes"))
    with pytest.raises(ConfigurationError, match="calibrate it first"):
        labelled.probabilities()
    calibration = fit_calibration(labelled)
    assert (calibration.slope, calibration.intercept) == pytest.approx((0.5, -0.5), abs=0.1)


def test_pairs_are_labelled_by_the_judgements() -> None:
    """Each candidate of each question is a pair; sets of one model can be joined, those of two can't."""
    scorer, collection = world()
    labelled = label_pairs(scorer, collection)
    assert (len(labelled.values), sum(labelled.labels)) == (480, 60)
    joined = join_labelled(labelled, labelled)
    assert (len(joined.values), len(set(joined.questions))) == (960, 120)
    with pytest.raises(ConfigurationError, match="one model"):
        join_labelled(labelled, overconfident(), replace(labelled, spec=replace(SPEC, fingerprint="other")))


def test_a_scorer_that_leaves_out_candidates_is_refused() -> None:
    """Fitting needs every score, and the error names the question."""
    scorer, collection = world(20)
    missing = Scripted(dict(scorer.script) | {"11 3": Unscored(UnscoredReason.INVALID)})
    with pytest.raises(ScoringError, match="must score every candidate, and 'q11' has some without a score"):
        fit_fusion(missing, collection)


def test_answerability_separates_questions_without_an_answer() -> None:
    """On other questions the probability is higher with the right candidate than without, and holds on average."""
    fitted, judged = (answer_cases(*_halved(seed)) for seed in (0, 1))
    record = fit_answerability(fitted, kept=(1, 3))
    probabilities = [record.probability(case.scores[:3], case.scores[3:]) for case in judged]
    labels = [case.answered(3) for case in judged]
    assert 0.2 < sum(labels) / len(labels) < 0.6
    assert reliability(probabilities, labels, bins=5).ece < 0.1
    pairs = [*zip(probabilities, labels, strict=True)]
    with_it, without = ([p for p, label in pairs if label is side] for side in (True, False))
    assert sum(with_it) / len(with_it) > sum(without) / len(without) + 0.1


def _halved(seed: int) -> tuple[Scripted, Collection]:
    scorer, collection = world(400, seed)
    return scorer, drop_relevant(collection, seed=seed)


def test_right_candidates_are_taken_out_of_a_share_of_the_questions() -> None:
    """Half of the questions have no right candidate any more; the others keep all of theirs."""
    scorer, collection = world(100)
    cases = answer_cases(scorer, drop_relevant(collection))
    assert sum(not case.right for case in cases) == 50
    assert {len(case.scores) for case in cases} == {7, 8}


def test_the_refusal_curve_begins_with_everything_answered() -> None:
    """Refusing more leaves fewer wrong answers where the probabilities are right, and loses answerable questions."""
    curve = refusal_curve([0.1, 0.2, 0.8, 0.9], [False, True, True, True])
    assert [(p.refused, p.wrong) for p in curve] == [(0.0, 0.25), (0.25, 0.0), (0.5, 0.0), (0.75, 0.0)]
    assert [p.lost for p in curve] == pytest.approx([0, 0, 1 / 3, 2 / 3])
    assert mean_wrong(curve) == pytest.approx(0.0625)
    with pytest.raises(InputError, match="for each label"):
        refusal_curve([], [])


def test_answerability_needs_both_kinds_of_questions_of_one_model() -> None:
    """No questions, only answered ones, and the scores of two models are refused."""
    with pytest.raises(InputError, match="none"):
        fit_answerability([])
    case = AnswerCase(SPEC, (2.0, 1.0), frozenset({0}))
    for kept in ((), (0, 1)):
        with pytest.raises(ConfigurationError, match="kept must be whole numbers from 1"):
            fit_answerability([case] * 40, kept)
    with pytest.raises(ConfigurationError, match=r"got 40 and 0.*drop_relevant"):
        fit_answerability([case] * 40)
    with pytest.raises(ConfigurationError, match="one model"):
        fit_answerability([case, replace(case, spec=replace(SPEC, fingerprint="other"))])


@pytest.mark.slow
def test_a_learned_fusion_beats_the_model_alone_on_other_questions() -> None:
    """With a first stage and a signal that see more, the fused order is better on questions it wasn't fitted on."""
    scorer, collection = world(150)
    fusion = fit_fusion(scorer, collection, signals=["date"])
    assert fusion.questions == 150
    other_scorer, others = world(150, seed=1)
    rerankers = {"alone": Reranker(other_scorer), "fused": Reranker(other_scorer, fusion=fusion)}
    quality = {item.name: item.quality["RR@10"].mean for item in evaluate(rerankers, others).systems}
    assert quality["fused"] > quality["alone"] + 0.1


def test_a_fusion_needs_questions_with_both_kinds_of_candidates() -> None:
    """Nine questions are too few, and a signal that no candidate has is an error."""
    scorer, collection = world(9)
    with pytest.raises(ConfigurationError, match="at least 10 questions"):
        fit_fusion(scorer, collection)
    with pytest.raises(ConfigurationError, match="'sales'"):
        fit_fusion(*world(20), signals=["sales"])

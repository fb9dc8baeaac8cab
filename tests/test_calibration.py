"""Calibrated probabilities, answerability, and the records that hold them."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Scripted

from secondpass import Candidate, Fallback, ReciprocalRank, Reranker, Scale, ScaleKind, Selection, Spec
from secondpass.calibration import FEATURES, Answerability, Calibration, features
from secondpass.errors import ConfigurationError
from secondpass.fusion import LearnedFusion
from secondpass.records import LOGIT, PROBABILITY
from secondpass.scorers.calibrated import Calibrated

HALF = Calibration("platt", "scripted", slope=0.5, intercept=-1.0)
STEPS = Calibration("isotonic", "scripted", points=((-1.0, 0.1), (1.0, 0.5), (2.0, 0.5), (3.0, 0.9)))
SURE = Answerability("scripted", (1.0, 0.0, 0.0, 0.0), 0.0)
VALUES = st.floats(-50, 50)


def test_platt_scaling_reads_log_odds() -> None:
    """A logit of 4 at half the slope, minus 1, is a logit of 1."""
    assert Scale(ScaleKind.LOGIT, calibration=HALF).probability(4.0) == pytest.approx(1 / (1 + math.exp(-1)))


def test_isotonic_regression_is_linear_between_its_points_and_flat_outside() -> None:
    """Between two points the probability is interpolated; below the first and above the last it is theirs."""
    assert [STEPS.probability(x) for x in (-9.0, 0.0, 1.5, 2.5, 9.0)] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


@given(low=VALUES, high=VALUES, calibration=st.sampled_from([HALF, STEPS]))
def test_a_calibrated_probability_never_falls(low: float, high: float, calibration: Calibration) -> None:
    """A higher value never has a lower probability."""
    low, high = sorted((low, high))
    assert calibration.probability(low) <= calibration.probability(high)


@given(value=st.floats(0, 1))
def test_the_identity_keeps_a_scale_of_probabilities(value: float) -> None:
    """A slope of 1 keeps probabilities, which are turned into log-odds and back."""
    scale = Scale(ScaleKind.PROBABILITY, calibration=Calibration("temperature", "x"))
    assert scale.probability(value) == pytest.approx(PROBABILITY.probability(value), abs=1e-8)


def test_an_unknown_scale_gets_probabilities_by_platt_scaling_alone() -> None:
    """A threshold works on a calibrated unknown scale, and a temperature, which needs a zero, is refused."""
    assert Scale(ScaleKind.UNKNOWN, calibration=HALF).has_probabilities
    assert not Scale(ScaleKind.UNKNOWN).has_probabilities
    with pytest.raises(ConfigurationError, match="no zero"):
        Scale(ScaleKind.UNKNOWN, calibration=Calibration("temperature", "x"))


def test_a_scorer_reads_its_values_through_a_calibration() -> None:
    """The probabilities are the calibration's, the scores and the order stay."""
    scorer = Scripted({"a": 2.0, "b": 4.0})
    plain, calibrated = (Reranker(item).rerank("q", ["a", "b"]) for item in (scorer, Calibrated(scorer, HALF)))
    assert [item.score for item in plain] == [item.score for item in calibrated] == [4.0, 2.0]
    assert [item.probability for item in calibrated] == pytest.approx([LOGIT.probability(1.0), 0.5])


@pytest.mark.parametrize("record", [Calibration("platt", "other"), Answerability("other", (0.0,) * 4, 0.0)])
def test_a_record_of_another_model_is_refused(record: Calibration | Answerability) -> None:
    """Calibration and answerability are matched by fingerprint."""
    with pytest.raises(ConfigurationError, match=r"'other'.*scripted.*fit it anew"):
        Calibrated(Scripted({}), **{type(record).__name__.lower(): record})


def test_a_fusion_of_another_model_is_refused() -> None:
    """A learned fusion weights raw scores, which another model has on another scale."""
    with pytest.raises(ConfigurationError, match="fit it anew"):
        Reranker(Scripted({}), fusion=LearnedFusion("other", (1.0, 0.0, 0.0, 0.0)))


def test_a_fusion_is_left_out_where_another_scorer_answers() -> None:
    """The weights are of one model's raw scores: those of another one order by themselves."""
    from worlds import Failing

    class Other(Scripted):
        spec = Spec("other", LOGIT, fingerprint="other")

    fusion = LearnedFusion("scripted", (0.0, 0.0, 0.0, 1.0))
    ranking = Reranker(Fallback(Failing(), Other({"a": 2.0, "b": 3.0})), fusion=fusion).rerank("q", ["a", "b"])
    assert [item.candidate.text for item in ranking] == ["b", "a"]
    assert all(item.fused is None for item in ranking)


def test_another_scorers_answer_keeps_its_own_scale() -> None:
    """Where a fallback's second scorer answers, its scores aren't read through the first one's calibration."""
    from worlds import Failing

    class Other(Scripted):
        spec = Spec("other", LOGIT, fingerprint="other")

    scorer = Calibrated(Fallback(Failing(), Other({"a": 2.0})), HALF)
    (kept,) = Reranker(scorer).rerank("q", ["a"])
    assert kept.probability == LOGIT.probability(2.0)


@pytest.mark.parametrize("record", [HALF, STEPS, SURE, LearnedFusion("x", (1.0, 2.0, 3.0, 4.0, 5.0), ("date",), 30)])
def test_records_survive_a_file(record: Calibration, tmp_path: Path) -> None:
    """A record read from its JSON file equals the one that was saved."""
    record.save(tmp_path / "record.json")
    assert type(record).load(tmp_path / "record.json") == record


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"method": "platt", "fingerprint": "x", "slop": 1}'])
def test_a_damaged_file_is_a_configuration_error(content: str, tmp_path: Path) -> None:
    """What isn't the record's JSON says which file or field is wrong."""
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ConfigurationError, match="must"):
        Calibration.load(tmp_path / "c.json")


@pytest.mark.parametrize(
    "settings",
    [{"method": "beta"}, {"slope": 0.0}, {"slope": math.nan}, {"method": "isotonic"},
     {"method": "isotonic", "points": ((0.0, 0.5), (1.0, 0.4))}, {"points": ((0.0, 0.5),)},
     {"method": "isotonic", "points": ((math.nan, 0.5),)}, {"method": "isotonic", "points": ((0.0, math.nan),)},
     {"method": "isotonic", "points": ((0.0, 0.5), (math.inf, 0.5))}, {"method": "isotonic", "points": ((0.0,),)}],
)  # fmt: skip
def test_impossible_calibrations_are_refused(settings: dict[str, object]) -> None:
    """A calibration must be of a known method, and never fall."""
    with pytest.raises(ConfigurationError, match="must"):
        Calibration(**({"method": "platt", "fingerprint": "x"} | settings))  # type: ignore[arg-type]


def test_weights_of_a_learned_fusion_are_finite() -> None:
    """NaN and infinity are no weights."""
    for weight in (math.nan, math.inf):
        with pytest.raises(ConfigurationError, match=r"weight.* must be|must be a finite weight"):
            LearnedFusion("x", (1.0, 0.0, 0.0, weight))


def test_answerable_is_read_from_the_kept_scores() -> None:
    """The best kept score decides here: dropping the best candidate lowers the probability."""
    reranker = Reranker(Calibrated(Scripted({"a": 3.0, "b": -2.0}), answerability=SURE))
    assert reranker.rerank("q", ["a", "b"]).answerable == pytest.approx(LOGIT.probability(3.0))
    without = reranker.rerank("q", [Candidate("a", id="a"), "b"], exclude=["a"])
    assert without.answerable == pytest.approx(LOGIT.probability(-2.0))
    assert without.to_dict()["answerable"] == without.answerable
    assert "kept 1, answerable 0.12" in without.report()
    assert "<small>answerable</small>0.12" in without.to_html()


def test_answerable_is_zero_where_nothing_is_kept_and_none_where_it_is_unknown() -> None:
    """Nothing kept can't answer; without a record, or with unscored candidates kept, there is no probability."""
    scorer = Calibrated(Scripted({"a": -9.0}), answerability=SURE)
    assert Reranker(scorer, selection=Selection(min_probability=0.5)).rerank("q", ["a"]).answerable == 0.0
    assert Reranker(Scripted({})).rerank("q", ["a"]).answerable is None
    assert Reranker(scorer).rerank("", ["a"]).answerable is None


@given(st.lists(VALUES, min_size=1), st.lists(VALUES))
def test_there_is_a_finite_feature_for_each_name(kept: list[float], dropped: list[float]) -> None:
    """Any scores give as many finite features as there are weights."""
    row = features(kept, dropped)
    assert len(row) == len(FEATURES)
    assert all(map(math.isfinite, row))


@pytest.mark.parametrize(("fusion", "rank"), [(None, 3), (ReciprocalRank(weights={"first_stage": 9.0}), 1)])
def test_the_rank_of_the_first_stages_best(fusion: ReciprocalRank | None, rank: int) -> None:
    """Of the best of the first stage the ranking tells the rank by score, or by fused value."""
    ranking = Reranker(Scripted({"a": 1.0, "b": 2.0, "c": 3.0}), fusion=fusion).rerank("q", ["a", "b", "c"])
    assert ranking.rank_of_top_hit == rank


def test_the_report_warns_where_the_first_stages_best_fell_far() -> None:
    """Below rank 10 the report says so, as text and as HTML, and above it doesn't."""
    texts = [f"text {number}" for number in range(12)]
    reranker = Reranker(Scripted({text: float(number) for number, text in enumerate(texts)}))
    far, near = reranker.rerank("q", texts), reranker.rerank("q", texts[:10])
    assert "the first stage's best fell to rank 12" in far.report()
    assert "fell" not in near.report()
    shown, not_shown = (item.to_html().partition('class="sp-report"')[2] for item in (far, near))
    assert "best fell to rank 12" in shown
    assert "fell" not in not_shown

"""Fusion of the model's scores with first-stage scores, ranks and signals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import finite

from secondpass import Candidate, ReciprocalRank, WeightedSum
from secondpass.errors import ConfigurationError, InputError
from secondpass.fusion import FusionInput, merge_lists, min_max


def inputs(
    *values: float, scores: list[float | None] | None = None, **signals: list[float | None]
) -> list[FusionInput]:
    """Return one input for each model value, in the first stage's order, with its first-stage score and signals."""
    return [
        FusionInput(
            Candidate(
                f"text {position}",
                score=scores[position] if scores else None,
                signals={name: column[position] for name, column in signals.items() if column[position] is not None},  # type: ignore[misc]
            ),
            value,
            rank_before=position + 1,
        )
        for position, value in enumerate(values)
    ]


def order(fused: list[float]) -> list[int]:
    """Return the positions, best first, ties by position."""
    return sorted(range(len(fused)), key=lambda position: -fused[position])


def test_reciprocal_ranks_add_up() -> None:
    """Each list adds 1 / (60 + rank): the model's third is the first stage's first, and so on."""
    fused = ReciprocalRank().fuse(inputs(0.1, 0.9, 0.5))
    assert fused == pytest.approx(
        [1 / (60 + 3) + 1 / (60 + 1), 1 / (60 + 1) + 1 / (60 + 2), 1 / (60 + 2) + 1 / (60 + 3)]
    )


def test_reciprocal_rank_weighs_the_other_lists() -> None:
    """A weight multiplies the value of its list, and k replaces 60."""
    fused = ReciprocalRank(k=1, weights={"first_stage": 0.5}).fuse(inputs(0.1, 0.9))
    assert fused == pytest.approx([1 / (1 + 2) + 0.5 / (1 + 1), 1 / (1 + 1) + 0.5 / (1 + 2)])


def test_first_stage_scores_decide_its_ranks() -> None:
    """Where every candidate has a first-stage score, the ranks follow the scores, not the positions."""
    fused = ReciprocalRank().fuse(inputs(3.0, 2.0, scores=[0.1, 0.7]))
    assert fused == pytest.approx([1 / (60 + 1) + 1 / (60 + 2), 1 / (60 + 2) + 1 / (60 + 1)])


def test_first_stage_ranks_count_where_a_score_is_missing() -> None:
    """With one first-stage score missing, the whole list counts by rank: two scales are never mixed."""
    fused = ReciprocalRank().fuse(inputs(3.0, 2.0, 1.0, scores=[0.1, None, 0.9]))
    assert fused == pytest.approx([2 / (60 + 1), 2 / (60 + 2), 2 / (60 + 3)])


def test_a_candidate_without_a_signal_gets_nothing_from_it() -> None:
    """A signal ranks the candidates that have it, from 1; the others get the model's value alone."""
    fused = ReciprocalRank(weights={"bm25": 1.0}).fuse(inputs(3.0, 2.0, 1.0, bm25=[None, 4.0, 8.0]))
    assert fused == pytest.approx([1 / (60 + 1), 1 / (60 + 2) + 1 / (60 + 2), 1 / (60 + 3) + 1 / (60 + 1)])


def test_equal_values_rank_by_the_first_stage() -> None:
    """A tie of the model goes to the better first-stage rank."""
    fused = ReciprocalRank(weights={"bm25": 1.0}).fuse(inputs(5.0, 5.0, bm25=[1.0, 1.0]))
    assert fused == pytest.approx([1 / 61 + 1 / 61, 1 / 62 + 1 / 62])


def test_the_weighted_sum_by_hand() -> None:
    """Each list is scaled to 0..1 by its own extremes, then 0.75 of the model and 0.25 of the first stage are added."""
    fused = WeightedSum(alpha=0.25).fuse(inputs(-4.0, 0.0, 4.0, scores=[30.0, 20.0, 10.0]))
    assert fused == pytest.approx([0.75 * 0 + 0.25 * 1, 0.75 * 0.5 + 0.25 * 0.5, 0.75 * 1 + 0.25 * 0])


def test_the_others_share_alpha_by_their_weights() -> None:
    """Weights of 3 and 1 are three quarters and one quarter of alpha."""
    rule = WeightedSum(alpha=0.4, weights={"first_stage": 3.0, "bm25": 1.0})
    fused = rule.fuse(inputs(0.0, 1.0, scores=[9.0, 5.0], bm25=[2.0, 6.0]))
    assert fused == pytest.approx([0.6 * 0 + 0.3 * 1 + 0.1 * 0, 0.6 * 1 + 0.3 * 0 + 0.1 * 1])


@given(values=st.lists(finite, max_size=8))
def test_alpha_zero_is_the_models_order(values: list[float]) -> None:
    """With alpha 0 the fused order is the order of the model's values, ties included."""
    assert order(WeightedSum(alpha=0).fuse(inputs(*values))) == order(values)


@given(values=st.lists(finite, max_size=8))
def test_alpha_one_is_the_first_stages_order(values: list[float]) -> None:
    """With alpha 1 the fused order is the first stage's."""
    assert order(WeightedSum(alpha=1).fuse(inputs(*values))) == list(range(len(values)))


@given(values=st.lists(finite, min_size=1, max_size=8), alpha=st.floats(0, 1, exclude_min=True))
def test_the_weighted_sum_is_bounded(values: list[float], alpha: float) -> None:
    """A weighted sum is within 0 and 1, except for rounding."""
    assert all(-1e-12 <= value <= 1 + 1e-12 for value in WeightedSum(alpha=alpha).fuse(inputs(*values)))


def test_alpha_zero_keeps_the_models_values_as_they_are() -> None:
    """With alpha 0 the values aren't scaled, which could make different values equal."""
    assert WeightedSum(alpha=0).fuse(inputs(1e-20, 2e-20, 5.0)) == [1e-20, 2e-20, 5.0]


def test_huge_values_scale_without_overflow() -> None:
    """Values whose difference exceeds the largest float are scaled without overflow."""
    assert min_max([-1e308, 1e308, 0.0]) == [0.0, 1.0, 0.5]


def test_equal_values_scale_to_the_middle() -> None:
    """A list of equal values is scaled to 0.5, without a division by zero."""
    assert min_max([3.0, 3.0]) == [0.5, 0.5]
    assert min_max([]) == []


@pytest.mark.parametrize("rule", [ReciprocalRank(weights={"clicks": 1.0}), WeightedSum(weights={"clicks": 1.0})])
def test_a_signal_that_no_candidate_has_is_an_error(rule: ReciprocalRank | WeightedSum) -> None:
    """Fusing by a signal that no candidate has is an error that lists the signals that they have."""
    with pytest.raises(ConfigurationError, match=r"'clicks', and no candidate has it; they have \['bm25'\]"):
        rule.fuse(inputs(1.0, 2.0, bm25=[1.0, 2.0]))


@pytest.mark.parametrize("rule", [ReciprocalRank(), WeightedSum()], ids=["reciprocal rank", "weighted sum"])
def test_nothing_to_fuse_gives_nothing(rule: ReciprocalRank | WeightedSum) -> None:
    """Without candidates there are no values."""
    assert rule.fuse([]) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReciprocalRank(k=0), "k must be above 0, got 0"),
        (lambda: ReciprocalRank(k=float("nan")), "k must be a number; got nan"),
        (lambda: ReciprocalRank(weights={}), "weights must be 0 or more"),
        (lambda: ReciprocalRank(weights={"bm25": -1.0}), "weights must be 0 or more"),
        (lambda: WeightedSum(alpha=1.5), "alpha must be within 0"),
        (lambda: WeightedSum(alpha=float("nan")), "alpha must be a number; got nan"),
        (lambda: WeightedSum(weights={"bm25": 0.0}), "one of them above 0"),
    ],
    ids=["k of 0", "k of nan", "no weights", "negative weight", "alpha of 1.5", "alpha of nan", "all weights 0"],
)
def test_settings_out_of_range_are_refused(make: "type", message: str) -> None:
    """An invalid setting is a ConfigurationError when the fusion is created."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def ranked(*ids: str, scores: list[float] | None = None) -> list[Candidate]:
    """Return one retriever's candidates, best first."""
    return [Candidate(key, id=key, score=scores[place] if scores else None) for place, key in enumerate(ids)]


def test_lists_are_merged_by_reciprocal_ranks() -> None:
    """What both lists hold comes first; ranks, scores and signals are those of the merged list and of each list."""
    merged = merge_lists({"bm25": ranked("a", "b", scores=[9.0, 5.0]), "dense": ranked("b", "c")})
    assert [(item.id, item.rank) for item in merged] == [("b", 1), ("a", 2), ("c", 3)]
    assert merged[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert [dict(item.signals) for item in merged] == [{"bm25": 5.0, "dense": 1.0}, {"bm25": 9.0}, {"dense": 0.5}]


def test_weights_decide_between_lists() -> None:
    """A list with the weight 0 adds candidates and signals, and no rank."""
    weights = ReciprocalRank(weights={"bm25": 0.0, "dense": 1.0})
    assert [item.id for item in merge_lists({"bm25": ranked("a", "b"), "dense": ranked("b", "c")}, weights)] == [
        "b",
        "c",
        "a",
    ]


@given(lists=st.dictionaries(st.sampled_from("xyz"), st.lists(st.sampled_from("abcdef"), max_size=8), max_size=3))
def test_merging_keeps_each_candidate_once(lists: dict[str, list[str]]) -> None:
    """Every id comes out once, also where a list repeats it, with ranks from 1 and falling scores."""
    merged = merge_lists({name: ranked(*ids) for name, ids in lists.items()})
    assert {item.id for item in merged} == {key for ids in lists.values() for key in ids}
    assert [item.rank for item in merged] == list(range(1, len(merged) + 1))
    scores = [item.score or 0.0 for item in merged]
    assert scores == sorted(scores, reverse=True)


def test_merging_refuses_candidates_without_ids_and_unknown_lists() -> None:
    """Without ids nothing can be merged, and weights of lists that aren't there are a mistake."""
    with pytest.raises(InputError, match="rank 1 of 'bm25' has none"):
        merge_lists({"bm25": [Candidate("a")]})
    with pytest.raises(ConfigurationError, match=r"lists \['bm25'\], got \['dense'\]"):
        merge_lists({"bm25": ranked("a")}, ReciprocalRank(weights={"dense": 1.0}))

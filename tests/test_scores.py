"""Scales, probabilities, and a caller's patience."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secondpass.scores import LOGIT, PROBABILITY, Call, Scale, ScaleKind, UnscoredReason

BOUNDED = Scale(ScaleKind.BOUNDED, low=-1.0, high=3.0)


@pytest.mark.parametrize("value", [-1.7e308, -1e4, -750.0, -709.0, 709.0, 750.0, 1e4, 1.7e308])
def test_the_logistic_function_cannot_overflow(value: float) -> None:
    """Log-odds of any finite size become 0 or 1 at the ends, and raise nothing."""
    assert LOGIT.probability(value) == pytest.approx(1.0 if value > 0 else 0.0, abs=1e-300)


@pytest.mark.parametrize(("value", "probability"), [(0.0, 0.5), (math.log(3), 0.75), (-math.log(3), 0.25)])
def test_log_odds_become_probabilities(value: float, probability: float) -> None:
    """Even odds are a half, and odds of three to one three quarters."""
    assert LOGIT.probability(value) == pytest.approx(probability)


@pytest.mark.parametrize(("value", "probability"), [(-1.0, 0.0), (0.0, 0.25), (1.0, 0.5), (3.0, 1.0)])
def test_a_bounded_value_is_scaled_linearly(value: float, probability: float) -> None:
    """The low end is 0, the high end 1, and what lies between is in proportion."""
    assert BOUNDED.probability(value) == pytest.approx(probability)


@pytest.mark.parametrize("scale", [BOUNDED, PROBABILITY])
def test_values_beyond_the_bounds_are_clamped(scale: Scale) -> None:
    """A value outside its scale comes out as 0 or 1, not beyond."""
    assert (scale.probability(-50.0), scale.probability(50.0)) == (0.0, 1.0)


def test_a_probability_stays_as_it_is() -> None:
    """What is a probability already isn't touched."""
    assert PROBABILITY.probability(0.3) == 0.3


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from((LOGIT, PROBABILITY, BOUNDED)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_probabilities_lie_within_0_and_1_and_never_turn_the_order(scale: Scale, one: float, other: float) -> None:
    """For any two finite values, the higher one has at least the lower one's probability, and both lie in 0..1."""
    low, high = sorted((one, other))
    assert 0.0 <= scale.probability(low) <= scale.probability(high) <= 1.0


def test_a_call_without_a_deadline_is_never_over() -> None:
    """Without a deadline, the work goes on."""
    assert Call().over() is None
    assert Call().deadline is None


def test_a_call_whose_time_is_up_says_so() -> None:
    """A deadline of no milliseconds has passed at once, and one of a day has not."""
    assert Call(0).over() is UnscoredReason.DEADLINE
    assert Call(86_400_000).over() is None


def test_a_cancelled_call_says_so_before_its_deadline() -> None:
    """Cancelling tells more than a deadline that has passed as well."""
    call = Call(0)
    call.cancel()
    assert call.over() is UnscoredReason.CANCELLED

"""What raw values mean, and how long a caller waits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass import Call
from secondpass.scores import LOGIT, PROBABILITY, Scale, ScaleKind, UnscoredReason

SCALES = {"logit": LOGIT, "probability": PROBABILITY, "bounded": Scale(ScaleKind.BOUNDED, low=-1.0, high=1.0)}


@pytest.mark.parametrize(
    ("scale", "value", "probability"),
    [
        ("logit", 0.0, 0.5),
        ("logit", math.log(3), 0.75),  # odds of 3 to 1
        ("logit", -math.log(3), 0.25),
        ("probability", 0.3, 0.3),
        ("bounded", -1.0, 0.0),
        ("bounded", 0.5, 0.75),
    ],
)
def test_probabilities_by_hand(scale: str, value: float, probability: float) -> None:
    """Log-odds go through the logistic function, a bounded value is scaled, a probability stays."""
    assert SCALES[scale].probability(value) == pytest.approx(probability)


@pytest.mark.parametrize("value", [1e308, 1e4, 800.0], ids=str)
def test_the_logistic_function_cannot_overflow(value: float) -> None:
    """Logits of any size become probabilities without an OverflowError."""
    assert LOGIT.probability(value) == 1.0
    assert LOGIT.probability(-value) == 0.0


@pytest.mark.parametrize("scale", SCALES)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_probabilities_are_bounded(scale: str, value: float) -> None:
    """Whatever the value, its probability is within 0 and 1."""
    assert 0.0 <= SCALES[scale].probability(value) <= 1.0


@pytest.mark.parametrize("scale", SCALES)
@given(pair=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)))
def test_a_higher_value_is_no_less_probable(scale: str, pair: tuple[float, float]) -> None:
    """Probabilities never contradict the order of the values."""
    low, high = sorted(pair)
    assert SCALES[scale].probability(low) <= SCALES[scale].probability(high)


def test_a_call_without_a_deadline_goes_on() -> None:
    """Nothing ends a call that has neither a deadline nor been cancelled."""
    assert Call().stop_reason() is None


def test_a_deadline_of_nothing_is_over_at_once() -> None:
    """A call with 0 ms is over before it begins, and one with an hour isn't."""
    assert Call(deadline_ms=0).stop_reason() is UnscoredReason.DEADLINE
    assert Call(deadline_ms=3_600_000).stop_reason() is None


def test_a_cancelled_call_is_over() -> None:
    """Cancelling ends a call, and counts before its deadline."""
    call = Call(deadline_ms=0)
    call.cancel()
    assert call.stop_reason() is UnscoredReason.CANCELLED

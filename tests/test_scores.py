"""Scales of raw values, and their conversion to probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import ConfigurationError
from secondpass.records import LOGIT, PROBABILITY, Scale, ScaleKind

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
    """The probability of any value is within 0 and 1."""
    probability = SCALES[scale].probability(value)
    assert probability is not None
    assert 0.0 <= probability <= 1.0


@pytest.mark.parametrize("scale", SCALES)
@given(pair=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)))
def test_a_higher_value_is_no_less_probable(scale: str, pair: tuple[float, float]) -> None:
    """Probabilities never contradict the order of the values."""
    low, high = (SCALES[scale].probability(value) for value in sorted(pair))
    assert low is not None
    assert high is not None
    assert low <= high


def test_an_unknown_scale_has_no_probabilities() -> None:
    """On an unknown scale, a value has no probability."""
    assert Scale(ScaleKind.UNKNOWN).probability(0.5) is None


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_bounds_of_a_scale_are_checked(low: float, high: float) -> None:
    """A bounded scale whose low isn't below its high is a configuration error."""
    with pytest.raises(ConfigurationError, match="low must be"):
        Scale(ScaleKind.BOUNDED, low, high)

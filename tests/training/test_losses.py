"""The loss: relative errors of hidden states, and scores by themselves or within a question."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secondpass.training.losses import relative_error, score_loss


@given(arrays("float32", st.integers(2, 8), elements=st.floats(-8, 8, width=16)), st.integers(1, 7))
def test_margin_mse_is_the_mean_over_all_pairs_of_one_question(errors: object, cut: int) -> None:
    """Computed by its definition, the mean of ((s_i - s_j) - (t_i - t_j))**2, it is the same number."""
    values = torch.tensor(errors)
    sizes = [size for size in (min(cut, len(values)), len(values) - min(cut, len(values))) if size]
    expected, start = 0.0, 0
    for size in sizes:
        own = values[start : start + size].tolist()
        expected += size * sum((a - b) ** 2 for a, b in product(own, own)) / size**2
        start += size
    found = score_loss(values, torch.zeros_like(values), sizes, "margin-mse")
    assert float(found) == pytest.approx(expected / len(values), rel=1e-4, abs=1e-5)


def test_margin_mse_forgives_what_is_common_to_a_question() -> None:
    """A student that is off by one constant for each question has nothing left to learn; by MSE it has."""
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    scores = targets + torch.tensor([7.0, 7.0, -3.0, -3.0, -3.0])
    assert float(score_loss(scores, targets, [2, 3], "margin-mse")) == pytest.approx(0, abs=1e-6)
    assert float(score_loss(scores, targets, [2, 3], "mse")) == pytest.approx((2 * 49 + 3 * 9) / 5)


def test_the_relative_error_is_0_for_the_same_states_and_1_for_none() -> None:
    """Its unit is the teacher's own squared length."""
    targets = torch.randn(2, 5, 8)
    mask = torch.ones(2, 5)
    assert float(relative_error(targets, targets, mask)) == 0
    assert float(relative_error(torch.zeros_like(targets), targets, mask)) == pytest.approx(1)
    assert float(relative_error(targets * 100, targets * 100 * 2, mask)) == pytest.approx(0.25)


def test_padding_teaches_nothing() -> None:
    """Whatever stands at masked positions leaves the error as it is."""
    states, targets = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = relative_error(states, targets, mask)
    states[0, 3:], targets[0, 3:] = 1000, -1000
    torch.testing.assert_close(relative_error(states, targets, mask), expected)

"""Intervals and the paired test."""

import pytest

pytest.importorskip("scipy", reason="the extra eval isn't installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from secondpass.errors import ConfigurationError, MissingExtra
from secondpass.evaluation import Sampling, extras
from secondpass.evaluation.estimates import compare, interval

QUICK = Sampling(resamples=200)
values = st.lists(st.floats(0, 1), min_size=2, max_size=12)


@settings(max_examples=25)
@given(values)
def test_interval_lies_within_the_values(found: list[float]) -> None:
    """The bounds are in order, and no mean of resamples leaves the range of the values."""
    mean, low, high = interval(found, QUICK)
    assert low is not None
    assert high is not None
    assert min(found) - 1e-12 <= low <= high <= max(found) + 1e-12
    assert min(found) - 1e-12 <= mean <= max(found) + 1e-12


def test_same_seed_same_interval() -> None:
    """Intervals can be repeated, and another seed gives another one."""
    found = [0.13, 0.41, 0.27, 0.92, 0.55, 0.38, 0.76]
    assert interval(found, Sampling(resamples=150)) == interval(found, Sampling(resamples=150))
    assert interval(found, Sampling(resamples=150)) != interval(found, Sampling(resamples=150, seed=2))


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    """Of 100 samples of a fair coin, at least 85 intervals of 95 % hold one half."""
    import numpy as np

    random = np.random.default_rng(3)
    samples = [random.integers(0, 2, size=60).tolist() for _ in range(100)]
    found = [interval(sample, Sampling(resamples=400)) for sample in samples]
    assert sum((low or 1) <= 0.5 <= (high or 0) for _, low, high in found) >= 85


def test_one_query_has_no_interval() -> None:
    """From a single value nothing can be said of the others, and its difference is no finding."""
    assert interval([0.3], QUICK) == (0.3, None, None)
    assert compare([0.25], [0.5], QUICK) == ((0.25, None, None), 1.0, 1, 0, 0)


def test_values_that_are_all_one_have_no_width() -> None:
    """Hit rates of 1 have an interval from 1 to 1, without a warning."""
    assert interval([1.0] * 5, QUICK) == (1.0, 1.0, 1.0)


def test_differences_are_paired() -> None:
    """A small gain on every query is sure, although the queries differ far more among themselves."""
    before = [0.0, 0.2, 0.4, 0.6, 0.8, 0.1, 0.3, 0.5]
    found = compare(before, [value + 0.1 for value in before], Sampling(resamples=256))
    assert found.interval.mean == pytest.approx(0.1)
    assert found.p_value == 2 / 2**8  # exact: one of all sign patterns on each side
    assert (found.won, found.lost, found.tied) == (8, 0, 0)


def test_no_difference_is_no_finding() -> None:
    """Equal values give a p of 1 and an interval of 0."""
    found = compare([0.5, 0.2], [0.5, 0.2], QUICK)
    assert found == ((0.0, 0.0, 0.0), 1.0, 0, 0, 2)


@settings(max_examples=25)
@given(values, st.data())
def test_comparison_is_symmetric(before: list[float], data: st.DataObject) -> None:
    """Turned around, a difference changes its sign, won and lost change places, and p stays."""
    after = data.draw(st.lists(st.floats(0, 1), min_size=len(before), max_size=len(before)))
    there, back = compare(before, after, QUICK), compare(after, before, QUICK)
    assert there.interval.mean == pytest.approx(-back.interval.mean)
    assert (there.won, there.lost, there.tied) == (back.lost, back.won, back.tied)
    assert 0 < there.p_value <= 1
    if len(before) <= 7:  # few enough for the exact test
        assert there.p_value == pytest.approx(back.p_value)


@pytest.mark.parametrize("setting", [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 99}])
def test_settings_are_checked(setting: dict[str, float]) -> None:
    """A confidence outside 0 and 1, or too few resamples, is refused."""
    with pytest.raises(ConfigurationError, match="must be"):
        Sampling(**setting)  # type: ignore[arg-type]


def test_missing_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scipy the extra is named."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"needs scipy, .*secondpass\[eval\]"):
        interval([0.1, 0.2], QUICK)

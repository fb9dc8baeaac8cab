"""How many candidates a cascade passes on, checked on questions that it wasn't fitted on."""

import random

import pytest

pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
from benchmarks.keep import cascaded, fit_keep, places_of_best, survival
from secondpass.errors import ConfigurationError
from secondpass.scorers.cascade import pruning_order

pytestmark = pytest.mark.slow


CANDIDATES = 40


def places(questions: int, seed: int, noise: float = 0.3, top_n: int = 5) -> list[list[int]]:
    """Return the places of the precise scorer's best, of a cheap scorer that is the precise one with noise."""
    chance = random.Random(seed)
    precise = [[chance.gauss(0, 1) for _ in range(CANDIDATES)] for _ in range(questions)]
    cheap = [[value + chance.gauss(0, noise) for value in scores] for scores in precise]
    return places_of_best([pruning_order(scores) for scores in cheap], precise, top_n)


def test_the_fitted_keep_holds_on_other_questions() -> None:
    """With the fitted number the best survive in all but the stated share of further questions."""
    keep = fit_keep(places(200, seed=1), risk=0.1)
    other = places(200, seed=2)
    assert sum(max(best) > keep for best in other) / len(other) <= 0.15
    assert 5 <= keep < CANDIDATES
    assert survival(other, keep) > 0.95


def test_less_risk_keeps_more() -> None:
    """A lower risk never gives a smaller number."""
    fitted = places(100, seed=3)
    keeps = [fit_keep(fitted, risk) for risk in (0.5, 0.2, 0.05)]
    assert keeps == sorted(keeps)
    assert keeps[0] < keeps[-1]


def test_a_keep_by_hand() -> None:
    """Where both scorers agree, the best are what is kept; where they are opposed, everything is."""
    scores = [[3.0, 1.0, 2.0, 0.0]] * 20
    opposed = [[-value for value in values] for values in scores]
    for cheap, keep in ((scores, 2), (opposed, 4)):
        order = [pruning_order(values) for values in cheap]
        assert fit_keep(places_of_best(order, scores, top_n=2), risk=0.05) == keep


def test_too_few_questions_for_a_risk_are_an_error() -> None:
    """A risk of 0.05 can't be stated from ten questions; the error says how many are needed."""
    with pytest.raises(ConfigurationError, match="from 19 questions on, and there are 10"):
        fit_keep(places(10, seed=4), risk=0.05)


def test_the_pruned_follow_in_the_pruning_order() -> None:
    """What goes on is ordered by the precise scores, and the rest stays as the cheap scorer left it."""
    assert cascaded([[2, 0, 3, 1]], [[5.0, 9.0, 1.0, 6.0]], keep=2) == [[0, 2, 3, 1]]
    assert cascaded([[2, 0, 3, 1]], [[5.0, 9.0, 1.0, 6.0]], keep=4) == [[1, 3, 0, 2]]

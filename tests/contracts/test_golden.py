"""Rankings, public names and the metadata of integrations are what ``golden.json`` says they were."""

import json
import math
from typing import Any

import golden
import pytest

EXPECTED = json.loads(golden.FILE.read_text("utf-8"))
OVERLAP, MODEL = golden.overlap_cases(), golden.model_cases()


@pytest.mark.parametrize("name", OVERLAP)
def test_a_ranking_by_words_is_the_same(name: str) -> None:
    """Nothing of it changes."""
    assert golden.rounded(OVERLAP[name]()) == EXPECTED[name]


@pytest.mark.parametrize("name", MODEL)
def test_a_ranking_by_the_model_is_the_same(name: str) -> None:
    """Order, reasons and texts are the same; numbers are as near as processors give them."""
    assert_near(golden.rounded(MODEL[name]()), EXPECTED[name])


def test_the_cases_and_names_are_the_same() -> None:
    """No case is left out, and no public name comes or goes unseen."""
    assert {*OVERLAP, *MODEL, "names"} == EXPECTED.keys()
    assert golden.names() == EXPECTED["names"]


def assert_near(found: Any, expected: Any, path: str = "") -> None:
    """Compare plain data: numbers with a tolerance, and of reasons all but the details, which have numbers in them."""
    assert type(found) is type(expected), path
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for key in expected.keys() - {"detail"}:
            assert_near(found[key], expected[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for place, pair in enumerate(zip(found, expected, strict=True)):
            assert_near(*pair, f"{path}[{place}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, abs_tol=golden.TOLERANCE), (path, found, expected)
    else:
        assert found == expected, path

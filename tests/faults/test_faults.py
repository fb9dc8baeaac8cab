"""A short run of the fault injection: every call is answered, and every candidate accounted for."""

import pytest
from run_faults import run

pytestmark = pytest.mark.slow


def test_nothing_is_lost_under_faults() -> None:
    """400 calls from eight threads over an engine that fails in five ways, damaged caches and short deadlines."""
    figures = run(calls=400, threads=8)
    assert (figures["answered"], figures["lost"]) == (400, [])
    assert figures["threads_left"] == []

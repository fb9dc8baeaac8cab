"""Candidates and their first-stage ranks."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from secondpass import Candidate
from secondpass.errors import InputError
from secondpass.fields import read_signals
from secondpass.records import as_candidates, first_stage_ranks


def test_a_text_becomes_a_candidate() -> None:
    """A plain text becomes a candidate without id, score and rank."""
    (candidate,) = as_candidates(["a red fox"])
    assert candidate == Candidate("a red fox")
    assert (candidate.id, candidate.score, candidate.rank) == (None, None, None)


def test_a_candidate_is_left_as_it_is() -> None:
    """A candidate is returned as the same object."""
    fox = Candidate("a red fox", payload=object())
    assert as_candidates(iter([fox]))[0] is fox


def test_numpy_numbers_become_floats() -> None:
    """Scores and signals from numpy are plain floats afterwards, the rank a plain int."""
    candidate = Candidate("x", score=np.float32(0.5), rank=np.int64(3), signals={"bm25": np.float64(2)})  # type: ignore[arg-type]
    assert (candidate.score, candidate.rank, candidate.signals) == (0.5, 3, {"bm25": 2.0})
    assert [type(candidate.score), type(candidate.rank), type(candidate.signals["bm25"])] == [float, int, float]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_numbers_that_are_not_finite_count_as_missing(value: float) -> None:
    """NaN and infinity are no first-stage score and no signal."""
    candidate = Candidate("x", score=value, signals={"bm25": value, "recency": 1.0})
    assert candidate.score is None
    assert candidate.signals == {"recency": 1.0}


def test_metadata_is_compared_and_not_hashed() -> None:
    """Candidates with other metadata are other candidates; a list in it doesn't keep them out of a set."""
    fox = Candidate("fox", metadata={"tags": ["red"]})
    assert fox != Candidate("fox")
    assert fox in {fox, Candidate("fox", metadata={"tags": ["red"]})}
    assert Candidate("fox").metadata == {}


def test_the_callers_signals_are_copied() -> None:
    """Changing the mapping afterwards doesn't change the candidate."""
    mine = {"bm25": 1.0}
    candidate = Candidate("x", signals=mine)
    mine["bm25"] = 9.0
    assert candidate.signals == {"bm25": 1.0}


def test_the_reading_text_may_differ_from_the_scored_one() -> None:
    """``reading`` is the prompt text where there is one, and the scored text where there is none."""
    assert Candidate("scored", prompt_text="read").reading == "read"
    assert Candidate("scored", prompt_text="").reading == ""
    assert Candidate("scored").reading == "scored"


def test_payloads_are_never_compared() -> None:
    """Two candidates that differ in their payloads alone are equal, hash alike, and hide the payload when shown."""
    one, other = Candidate("x", payload=np.zeros(3)), Candidate("x", payload=np.ones(3))
    assert one == other
    assert hash(one) == hash(other)
    assert "array" not in repr(one)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": None}, "a candidate's text must be a string, got NoneType"),
        ({"text": b"bytes"}, "text must be a string, got bytes"),
        ({"text": "x", "prompt_text": 3}, "prompt_text must be a string or None, got 3"),
        ({"text": "x", "score": "high"}, "score must be a number or None, got 'high'"),
        ({"text": "x", "score": 10**400}, "score must be a number"),
        ({"text": "x", "signals": {"bm25": []}}, "signal 'bm25' must be a number"),
        ({"text": "x", "signals": None}, "signals must be a mapping, got None"),
        ({"text": "x", "id": 5}, "a candidate's id must be a string or None, got 5"),
        ({"text": "x", "source": 5}, "a candidate's source must be a string or None, got 5"),
        ({"text": "x", "metadata": 5}, "a candidate's metadata must be a mapping, got 5"),
        ({"text": "x", "metadata": None}, "a candidate's metadata must be a mapping, got None"),
        ({"text": "x", "rank": 0}, "rank must be a whole number from 1, got 0"),
        ({"text": "x", "rank": 1.5}, "rank must be a whole number from 1, got 1.5"),
        ({"text": "x", "rank": "first"}, "rank must be a number or None, got 'first'"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
)
def test_wrong_types_are_refused(fields: dict[str, object], message: str) -> None:
    """A wrong type is an InputError that names the field and the value."""
    with pytest.raises(InputError) as caught:
        Candidate(**fields)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_wrong_item_is_named_by_its_position() -> None:
    """An item that is neither a text nor a candidate is an InputError that says where it stood."""
    with pytest.raises(InputError, match="got int at position 1"):
        as_candidates(["fine", 7])  # type: ignore[list-item]


def test_one_string_is_no_list_of_texts() -> None:
    """A single string is refused instead of being taken for a list of letters."""
    with pytest.raises(InputError, match="got str: 'a red fox'"):
        as_candidates("a red fox")


@pytest.mark.parametrize(
    ("given", "ranks"),
    [
        ([], []),
        ([None, None, None], [1, 2, 3]),
        ([3, 1, 2], [3, 1, 2]),
        ([30, 10, 20], [3, 1, 2]),
        ([2, 1, 1], [3, 1, 2]),
        ([2, None, 1], [1, 2, 3]),
    ],
    ids=["no candidates", "input order", "given", "with gaps", "a tie goes to the first", "one missing: input order"],
)
def test_first_stage_ranks(given: list[int | None], ranks: list[int]) -> None:
    """First-stage ranks count from 1 without gaps or ties, from given ranks where every candidate has one."""
    assert first_stage_ranks([Candidate("x", rank=rank) for rank in given]) == ranks


@pytest.mark.parametrize("unit", ["D", "s", "ms", "ns"])
def test_a_date_of_numpy_is_the_same_signal_in_every_unit(unit: str) -> None:
    """Seconds since 1970, as of Python's dates; as a number it would be one of days or nanoseconds."""
    candidate = Candidate("a", metadata={"day": np.datetime64("2020-01-01", unit)})
    assert read_signals([candidate], ["day"])[0].signals == {"day": 1577836800.0}
    with pytest.raises(InputError, match="signal 'day' must be a number"):
        Candidate("a", signals={"day": np.datetime64("2020-01-01", unit)})


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT, np.datetime64("NaT"), math.nan, None])
def test_missing_values_of_tables_are_missing_signals(missing: Any) -> None:
    """A candidate has no such signal, as where the key is missing."""
    assert read_signals([Candidate("a", metadata={"day": missing})], ["day"])[0].signals == {}
    assert Candidate("a", signals={"day": missing}, score=missing).score is None


@pytest.mark.parametrize("value", [10**400, np.array([1, 2]), np.timedelta64(1, "D"), pd.Series([1, 2])])
def test_what_is_neither_number_nor_date_is_no_signal(value: Any) -> None:
    """The error names the key."""
    with pytest.raises(InputError, match="'day'"):
        read_signals([Candidate("a", metadata={"day": value})], ["day"])

"""Candidates: what is accepted, what is refused, and first-stage ranks."""

import math

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from secondpass.candidates import Candidate, as_candidates, first_stage_ranks
from secondpass.errors import InputError


@pytest.mark.parametrize("text", [None, 3, b"bytes", ["list"]])
def test_a_text_that_is_no_string_is_refused(text: object) -> None:
    """A candidate whose text isn't a string is an input error that names the type that came."""
    with pytest.raises(InputError, match=type(text).__name__):
        Candidate(text)  # type: ignore[arg-type]


def test_a_prompt_text_that_is_no_string_is_refused() -> None:
    """A prompt text is a string or None, and nothing else."""
    with pytest.raises(InputError, match="prompt_text"):
        Candidate("text", prompt_text=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", ["high", [1.0], object(), 10**400])
def test_a_score_that_is_no_number_is_refused(score: object) -> None:
    """A score that can't be made a float is an input error."""
    with pytest.raises(InputError, match="score must be a number"):
        Candidate("text", score=score)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, np.float32("nan"), None])
def test_a_score_that_is_not_finite_counts_as_missing(score: float | None) -> None:
    """NaN and infinity say nothing about a candidate, and become None."""
    assert Candidate("text", score=score).score is None


def test_numpy_scalars_become_python_numbers() -> None:
    """Scores, ranks and signals that come as numpy scalars are plain numbers afterwards."""
    candidate = Candidate("text", score=np.float32(0.5), rank=np.int64(3), signals={"bm25": np.float64(2.0)})
    assert (type(candidate.score), type(candidate.rank), type(candidate.signals["bm25"])) == (float, int, float)
    assert (candidate.score, candidate.rank, candidate.signals) == (0.5, 3, {"bm25": 2.0})


@pytest.mark.parametrize("rank", [0, -1, 1.5])
def test_a_rank_that_is_no_whole_number_from_1_is_refused(rank: float) -> None:
    """First-stage ranks are counted from 1."""
    with pytest.raises(InputError, match="whole number from 1"):
        Candidate("text", rank=rank)  # type: ignore[arg-type]


def test_signals_that_are_missing_are_left_out() -> None:
    """A signal that is None or not finite is no signal."""
    signals = {"bm25": 1.5, "recency": math.nan, "clicks": None}
    assert Candidate("text", signals=signals).signals == {"bm25": 1.5}  # type: ignore[arg-type]


@pytest.mark.parametrize("signals", [None, [("bm25", 1.0)], {"bm25": "much"}])
def test_signals_that_are_no_mapping_of_numbers_are_refused(signals: object) -> None:
    """Signals map names to numbers, and anything else is an input error."""
    with pytest.raises(InputError, match="signal"):
        Candidate("text", signals=signals)  # type: ignore[arg-type]


def test_the_callers_own_signals_are_not_changed_or_shared() -> None:
    """A candidate keeps its own copy of the signals."""
    signals = {"bm25": 1.0, "recency": math.inf}
    candidate = Candidate("text", signals=signals)
    signals["bm25"] = 9.0
    assert candidate.signals == {"bm25": 1.0}
    assert signals == {"bm25": 9.0, "recency": math.inf}


@pytest.mark.parametrize(("prompt_text", "reading"), [(None, "text"), ("parent", "parent"), ("", "")])
def test_the_reader_gets_the_prompt_text_where_there_is_one(prompt_text: str | None, reading: str) -> None:
    """What the LLM reads is the prompt text, also an empty one, and the text only where there is none."""
    assert Candidate("text", prompt_text=prompt_text).reading == reading


def test_payloads_are_never_compared() -> None:
    """Candidates that differ in their payload alone are equal, also with payloads that can't be compared."""
    arrays = [Candidate("text", payload=np.zeros(3)), Candidate("text", payload=np.ones(3))]
    assert arrays[0] == arrays[1]
    assert hash(arrays[0]) == hash(arrays[1])


def test_texts_become_candidates_and_candidates_stay() -> None:
    """Texts are wrapped, candidates are the caller's very objects, and any iterable will do."""
    mine = Candidate("mine", payload=object())
    made = as_candidates(iter(["plain", mine]))
    assert made[0] == Candidate("plain")
    assert made[1] is mine


def test_one_string_is_no_list_of_candidates() -> None:
    """A lone string would be read letter by letter, and is refused."""
    with pytest.raises(InputError, match="got one string"):
        as_candidates("a text")


def test_an_item_that_is_neither_is_named_by_its_position() -> None:
    """The error for a foreign object says where in the list it stands."""
    with pytest.raises(InputError, match="dict at position 1"):
        as_candidates(["fine", {"text": "not fine"}])  # type: ignore[list-item]


def test_given_ranks_count_where_every_candidate_has_one() -> None:
    """Ranks with gaps are closed up, and ties go to whoever came first."""
    given_ranks = [Candidate("a", rank=30), Candidate("b", rank=7), Candidate("c", rank=30)]
    assert first_stage_ranks(given_ranks) == [2, 1, 3]


def test_the_input_order_counts_where_a_rank_is_missing() -> None:
    """One candidate without a rank makes the input order the first stage's order."""
    assert first_stage_ranks([Candidate("a", rank=9), Candidate("b"), Candidate("c", rank=1)]) == [1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(st.lists(strategies.candidates(), max_size=8))
def test_first_stage_ranks_have_no_gaps_and_no_ties(found: list[Candidate]) -> None:
    """Whatever comes, the ranks are 1 to n, each once."""
    assert sorted(first_stage_ranks(found)) == list(range(1, len(found) + 1))

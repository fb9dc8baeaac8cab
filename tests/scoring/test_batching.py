"""Batch planning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.scoring.batches import plan_batches
from secondpass.scoring.engine import BatchLimits

lengths_drawn = st.lists(st.integers(0, 600), max_size=60)
limits_drawn = st.builds(
    BatchLimits,
    max_tokens=st.integers(1, 4000),
    max_rows=st.none() | st.integers(1, 40),
    length_step=st.sampled_from([1, 8, 64]),
)


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        (BatchLimits(1000), [[1, 3, 0, 2]]),
        (BatchLimits(60), [[1], [3, 0], [2]]),  # 1 x 50, then 2 x 30, then what is left
        (BatchLimits(1000, max_rows=2), [[1, 3], [0, 2]]),
        (BatchLimits(10), [[1], [3], [0], [2]]),  # longer than the limit: alone
        (BatchLimits(128, length_step=64), [[1, 3], [0, 2]]),  # every row takes 64
    ],
    ids=["all in one", "by tokens", "by rows", "each too long", "rounded up"],
)
def test_batches_by_hand(limits: BatchLimits, batches: list[list[int]]) -> None:
    """Pairs of 20, 50, 10 and 30 tokens are batched longest first, within the limits."""
    assert list(plan_batches([20, 50, 10, 30], limits)) == batches


def test_no_pairs_make_no_batches() -> None:
    """Without pairs there are no batches."""
    assert list(plan_batches([], BatchLimits(100))) == []


@given(lengths=lengths_drawn, limits=limits_drawn, block=st.none() | st.integers(1, 20))
def test_each_pair_is_in_one_batch(lengths: list[int], limits: BatchLimits, block: int | None) -> None:
    """Every position is in exactly one batch, and no batch is empty."""
    batches = list(plan_batches(lengths, limits, block))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(batches)


@given(lengths=lengths_drawn, limits=limits_drawn, block=st.none() | st.integers(1, 20))
def test_the_limits_hold(lengths: list[int], limits: BatchLimits, block: int | None) -> None:
    """Rows times the longest padded row are within the token limit, except for a single pair; rows within theirs."""
    for batch in plan_batches(lengths, limits, block):
        padded = len(batch) * limits.padded(max(lengths[position] for position in batch))
        assert len(batch) == 1 or padded <= limits.max_tokens
        assert len(batch) <= (limits.max_rows or len(batch))


@given(lengths=lengths_drawn, limits=limits_drawn)
def test_the_longest_come_first(lengths: list[int], limits: BatchLimits) -> None:
    """Without blocks the pairs come in falling length, so that the largest batch is the first one."""
    order = [lengths[position] for batch in plan_batches(lengths, limits) for position in batch]
    assert order == sorted(lengths, reverse=True)


@given(lengths=lengths_drawn, limits=limits_drawn, block=st.integers(1, 20))
def test_blocks_come_in_their_own_order(lengths: list[int], limits: BatchLimits, block: int) -> None:
    """With blocks, every pair of a block comes before any pair of the next."""
    order = [position // block for batch in plan_batches(lengths, limits, block) for position in batch]
    assert order == sorted(order)


def test_sorting_happens_inside_each_block() -> None:
    """With blocks of two, the longer of each two comes first."""
    assert list(plan_batches([1, 2, 3, 4, 5], BatchLimits(100), block=2)) == [[1, 0], [3, 2], [4]]


@given(length=st.integers(0, 10_000), step=st.integers(1, 512))
def test_padding_rounds_up_to_the_step(length: int, step: int) -> None:
    """A padded length is the next multiple of the step."""
    padded = BatchLimits(1, length_step=step).padded(length)
    assert padded % step == 0
    assert length <= padded < length + step

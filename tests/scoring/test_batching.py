"""Batches: every pair once, under the ceilings, longest first."""

from hypothesis import given
from hypothesis import strategies as st

from secondpass.scoring.batching import BatchLimits, plan_batches

LENGTHS = st.lists(st.integers(1, 600), max_size=60)
LIMITS = st.builds(
    BatchLimits,
    max_tokens=st.integers(1, 4000),
    max_rows=st.none() | st.integers(1, 40),
    length_step=st.sampled_from([1, 8, 64]),
)


@given(LENGTHS, LIMITS, st.none() | st.integers(1, 20))
def test_every_position_comes_once(lengths: list[int], limits: BatchLimits, block: int | None) -> None:
    """However batches are cut, each pair is in exactly one."""
    batches = list(plan_batches(lengths, limits, block))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))


@given(LENGTHS, LIMITS)
def test_a_batch_stays_under_both_ceilings(lengths: list[int], limits: BatchLimits) -> None:
    """Rows times the padded longest stays under the ceiling, unless one pair alone is over it."""
    for batch in plan_batches(lengths, limits):
        padded = len(batch) * limits.padded(max(lengths[position] for position in batch))
        assert padded <= limits.max_tokens or len(batch) == 1
        assert limits.max_rows is None or len(batch) <= limits.max_rows


@given(LENGTHS, LIMITS)
def test_the_longest_comes_first(lengths: list[int], limits: BatchLimits) -> None:
    """Without blocks lengths fall from batch to batch, so that memory runs out at once or never."""
    order = [lengths[position] for batch in plan_batches(lengths, limits) for position in batch]
    assert order == sorted(lengths, reverse=True)


def test_blocks_keep_the_first_pairs_first() -> None:
    """With blocks of two, sorting happens inside each block only."""
    assert list(plan_batches([1, 2, 3, 4, 5], BatchLimits(100), block=2)) == [[1, 0], [3, 2], [4]]

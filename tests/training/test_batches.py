"""Batches of training data: every row once, under the ceiling, the same for the same seed."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from secondpass.training.batches import TokenBatchSampler
from secondpass.training.data import Row

rows = st.lists(st.tuples(st.integers(1, 512), st.integers(1, 8)), min_size=1, max_size=60)


def sampler(
    rows: Sequence[tuple[int, int]], *, ceiling: int = 1000, seed: int = 1, world: int = 1
) -> TokenBatchSampler:
    made = [Row(number, tuple(range(size)), length) for number, (length, size) in enumerate(rows)]
    return TokenBatchSampler(None, made, ceiling=ceiling, seed=seed, world=world)


@given(rows, st.integers(0, 3))
def test_every_row_is_drawn_once_an_epoch(rows: list[tuple[int, int]], epoch: int) -> None:
    """Nothing is left out and nothing comes twice, in any epoch."""
    batches = sampler(rows)
    batches.set_epoch(epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    assert len(list(batches)) == len(batches)


@given(rows, st.integers(1, 3000))
def test_no_batch_is_over_the_ceiling_unless_it_is_one_row(rows: list[tuple[int, int]], ceiling: int) -> None:
    """Padded tokens are counted: pairs times the longest pair."""
    for batch in sampler(rows, ceiling=ceiling):
        padded = sum(rows[row][1] for row in batch) * max(rows[row][0] for row in batch)
        assert padded <= ceiling or len(batch) == 1


@given(rows)
def test_the_order_is_the_seeds_and_the_epochs(rows: list[tuple[int, int]]) -> None:
    """The same seed and epoch give the same batches in the same order; another epoch the same batches."""
    first, again, later = sampler(rows), sampler(rows), sampler(rows)
    later.set_epoch(1)
    assert list(first) == list(again)
    assert sorted(first) == sorted(later)


@given(rows, st.integers(1, 4))
def test_devices_get_the_same_number_of_batches(rows: list[tuple[int, int]], world: int) -> None:
    """What doesn't divide is left out, so that no device waits for one that is done."""
    shared = sampler(rows, world=world)
    assert len(shared) % world == 0
    assert len(sampler(rows)) - len(shared) < world

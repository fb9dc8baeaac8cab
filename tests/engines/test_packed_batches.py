"""Packed batches on a device: overlap and memory, simulated on the CPU."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra torch isn't installed")

from secondpass import LoadOptions, load_scorer  # noqa: E402
from secondpass.engines import packed_batches  # noqa: E402
from secondpass.engines.packed import PackedClassifier, Shape  # noqa: E402
from secondpass.engines.packed_batches import MEASURED, PackedBatches  # noqa: E402
from secondpass.engines.torch_packing import TorchPacking  # noqa: E402
from secondpass.errors import OutOfMemory  # noqa: E402
from secondpass.models.hardware import (  # noqa: E402
    GPU_BATCH_TOKENS,
    GPU_MEMORY_SHARE,
    Hardware,
    place,
    token_budget,
)
from secondpass.models.hardware import PlacementRequest as Request  # noqa: E402
from secondpass.records import Pair, Score  # noqa: E402
from secondpass.scoring.engine import (  # noqa: E402
    BatchLimits,
    Encoded,
    Placement,
)

Tiny = Callable[..., Path]


def sequences(*lengths: int) -> list[Encoded]:
    """Return sequences whose ids are their lengths."""
    return [Encoded(length, 0, {"input_ids": np.full(length, length)}) for length in lengths]


def first_ids(inputs: Any, shape: Shape) -> Any:
    """Return the first id of each sequence, as a model that reads nothing else: (sequences, 1)."""
    return inputs[: shape.tokens].index_select(0, inputs[3 * shape.tokens : -1])[:, None].float()


def packing(compute: Any, **request: Any) -> TorchPacking:
    """Return packing over a function instead of a model."""
    batches = TorchPacking(Request(**request), Placement("cpu", "float32", BatchLimits(60_000), "for a test"), 300)
    batches._batches = PackedBatches(compute, "cpu", budget=60_000)
    return batches


def test_a_warmup_without_memory_leaves_the_smallest_batches() -> None:
    """If others have the memory when it is measured, packed batches are small, and nothing fails."""

    def no_memory(inputs: Any, shape: Shape) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    small = packing(no_memory)
    small.measure(FakeMemory(10**10, token=1))
    assert small.placement.limits.max_tokens == GPU_BATCH_TOKENS[0]


def test_a_given_size_of_batches_is_not_measured() -> None:
    """``batch_tokens`` decides, and the placement says that batches are packed."""
    memory = FakeMemory(10**10, token=1)
    given = packing(first_ids, batch_tokens=3000)
    given.measure(memory)
    assert memory.measured == []
    assert given.placement.limits == BatchLimits(60_000, packed=True)
    assert given.placement.reason == "for a test; packed"


# Overlap


class Device:
    """Computes later than it is asked to: outputs are there once they are read, and reading is noted."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, inputs: Any, shape: Shape) -> Any:
        self.events.append(f"start {shape.tokens}")
        return first_ids(inputs, shape)


def test_all_batches_are_started_before_an_output_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next batch is packed and started while the device computes; outputs are read once, at the end."""
    device = Device()
    read = torch.Tensor.cpu
    pack = packed_batches.pack

    def noted_pack(batch: Sequence[Encoded], *rest: Any) -> Any:
        device.events.append(f"pack {sum(item.length for item in batch)}")
        return pack(batch, *rest)

    def noted_read(tensor: Any) -> Any:
        device.events.append("read")
        return read(tensor)

    monkeypatch.setattr(packed_batches, "pack", noted_pack)
    monkeypatch.setattr(torch.Tensor, "cpu", noted_read)
    PackedBatches(device, "cpu", budget=10)(sequences(6, 4, 9, 12))
    assert device.events == ["pack 10", "start 10", "pack 9", "start 9", "pack 12", "start 12", "read"]


# Memory


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), budget=st.integers(1, 200))
def test_batches_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    """No batch has more tokens than the budget, unless it is one sequence; two neighbours never would fit into one."""
    device = Device()
    PackedBatches(device, "cpu", budget)(sequences(*lengths))
    tokens = [int(event.split()[1]) for event in device.events]
    assert sum(tokens) == sum(lengths)
    ends = set(accumulate(lengths))
    assert set(accumulate(tokens)) <= ends
    assert all(count <= budget or count in lengths for count in tokens)
    assert all(a + b > budget for a, b in pairwise(tokens) if b in lengths)


class FakeMemory:
    """A device on which a token takes so many bytes."""

    def __init__(self, free: int, token: int) -> None:
        self._free, self._token = free, token
        self.measured: list[int] = []

    def free(self) -> int:
        return self._free

    def peak(self, run: Callable[[], object]) -> int:
        run()
        self.measured.append(MEASURED[len(self.measured)])
        return 10**9 + self._token * self.measured[-1]


@pytest.mark.parametrize("free", [2 * 10**9, 80 * 10**9])
def test_the_budget_comes_from_measured_memory(free: int) -> None:
    """The budget is a share of the free memory over the measured bytes of a token."""
    run = PackedBatches(first_ids, "cpu", budget=2048)
    run.measure(FakeMemory(free, token=100_000), longest=512)
    assert run.budget == token_budget(free, 100_000)


def test_a_token_budget_is_bounded() -> None:
    """However little or much memory is free, a batch has some thousand tokens at least, and a bound above."""
    assert token_budget(0, 1e6) == GPU_BATCH_TOKENS[0]
    assert token_budget(10**12, 1.0) == token_budget(10**12, 0.0) == GPU_BATCH_TOKENS[1]
    assert token_budget(8 * 10**9, 2e5) == int(8e9 * GPU_MEMORY_SHARE / 2e5)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let packed batches of more than 40 tokens not fit into memory, and return the tokens of those that were tried."""
    tried: list[int] = []
    compute = PackedClassifier.__call__

    def refusing(self: PackedClassifier, inputs: Any, shape: Shape) -> Any:
        tried.append(shape.tokens)
        if shape.tokens > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(self, inputs, shape)

    monkeypatch.setattr(PackedClassifier, "__call__", refusing)
    return tried


def test_out_of_memory_halves_the_batches(tiny: Tiny, request: pytest.FixtureRequest) -> None:
    """What doesn't fit is halved until it does, later batches are smaller at once, and scores are the same."""
    pairs = [Pair("how long can a bee live", "cat " * (count % 20)) for count in range(24)]
    scorer = load_scorer(tiny("torch"), engine="torch", device="cpu", options=LoadOptions(packed=True))
    before = [outcome.value for outcome in scorer.score_pairs(pairs).outcomes if isinstance(outcome, Score)]
    tried = request.getfixturevalue("small_memory")
    scored = scorer.score_pairs(pairs)
    assert [o.value for o in scored.outcomes if isinstance(o, Score)] == pytest.approx(before, abs=1e-4)
    assert int(str(scored.stages[0].facts["halved"])) >= 1
    tried.clear()
    again = scorer.score_pairs(pairs)
    assert max(tried) <= 40
    assert again.stages[0].facts["halved"] == 0


def test_a_pair_that_never_fits_is_an_error_and_the_next_call_works(tiny: Tiny, small_memory: list[int]) -> None:
    """A single pair that is too large fails with ``OutOfMemory``, and the scorer goes on."""
    scorer = load_scorer(tiny("torch"), engine="torch", device="cpu", options=LoadOptions(packed=True))
    with pytest.raises(OutOfMemory, match=r"1 pairs of .* do not fit into memory"):
        scorer.score("bee", ["cat " * 60])
    assert isinstance(scorer.score("bee", ["cat"])[0], Score)


def test_batches_grow_again_after_calls_without_an_error() -> None:
    """Memory that others took may come back: after some calls the halved batches are doubled, up to what they were."""
    run = PackedBatches(Device(), "cpu", budget=100)
    run.shrink(sequences(*[10] * 10))
    assert run.budget == 50
    for _ in range(packed_batches.RECOVERY):
        run(sequences(1))
    assert run.budget == 100
    run.shrink(sequences(30))  # no batch of 30 tokens fits
    assert run.budget == 15


def test_a_released_engine_keeps_the_measured_size(tiny: Tiny) -> None:
    """What ``warmup`` measured holds for the model that the next call after ``release`` loads."""
    scorer = load_scorer(tiny("torch"), engine="torch", device="cpu", options=LoadOptions(packed=True))
    measured = scorer._engine._packing  # type: ignore[union-attr]
    measured.measure(FakeMemory(10**9, token=100_000))
    scorer.release()
    scorer.score("bee", ["cat"])
    assert measured.placement.limits.max_tokens == token_budget(10**9, 100_000)


def test_forward_passes_on_mps_are_serialised(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two scorers on MPS never compute at the same time, and their batches have few lengths and aren't packed."""
    inside, most = [0], [0]
    both = threading.Barrier(2, timeout=5)
    scorers = [load_scorer(tiny("torch"), engine="torch", device="cpu") for _ in range(2)]

    def scores(pairs: Sequence[Encoded]) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # the other one comes in if it can
        inside[0] -= 1
        return torch.zeros(len(pairs), 1)

    for scorer in scorers:
        engine = scorer._engine  # type: ignore[union-attr]
        placement = replace(engine.facts.placement, device="mps")
        monkeypatch.setattr(engine, "facts", replace(engine.facts, placement=placement))
        monkeypatch.setattr(engine._packing, "scores", scores)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda scorer: scorer.score("bee", ["cat"]), scorers))
    assert most == [1]
    limits = place(Request("mps"), Hardware(1, mps=True)).limits
    assert len({limits.padded(length) for length in range(1, 513)}) == 8
    packing = TorchPacking(Request(), Placement("mps", "float32", limits, "for a test"), 512)
    packing.open(scorers[0]._engine._open())  # type: ignore[union-attr]
    assert not packing.active

"""One model on several devices, which are simulated."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine, blocked_engine
from hypothesis import given
from hypothesis import strategies as st

from secondpass import Call
from secondpass.errors import ConfigurationError, DeviceError, ScoringError
from secondpass.models.hardware import Gpu, Hardware, PlacementRequest, split_devices
from secondpass.records import Pair, Score, UnscoredReason
from secondpass.scorers import load
from secondpass.scorers.devices import CHUNK_PAIRS, Devices
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Encoded


def pairs(count: int) -> list[Pair]:
    """Return pairs with texts of 1, 2, 3 and so on up to 50 different words, all different."""
    return [Pair("q", f"{number} " + "w " * (number % 50)) for number in range(count)]


def on(*engines: FakeEngine) -> Devices:
    """Return a scorer over the engines, as devices named a, b, c."""
    return Devices([CrossEncoder(engine) for engine in engines], [*"abc"[: len(engines)]])


def values(devices: Devices, given_pairs: Sequence[Pair]) -> list[float]:
    """Return the scores; every pair must have one."""
    outcomes = devices.score_pairs(given_pairs).outcomes
    assert all(isinstance(outcome, Score) for outcome in outcomes)
    return [outcome.value for outcome in outcomes if isinstance(outcome, Score)]


def words(given_pairs: Sequence[Pair]) -> list[float]:
    """Return what a fake engine gives."""
    return [float(len(pair.text.split())) for pair in given_pairs]


class Lost(FakeEngine):
    """A device that is lost after some batches."""

    def __init__(self, after: int = 0) -> None:
        super().__init__(rows=64)
        self.after = after

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        if len(self.batches) >= self.after:
            raise ScoringError("torch failed while scoring: RuntimeError: CUDA error: the device is lost")
        return super().forward(batch)


@given(count=st.integers(0, 3 * CHUNK_PAIRS[0]), devices=st.integers(1, 3))
def test_outcomes_are_in_the_order_of_the_pairs(count: int, devices: int) -> None:
    """Whichever device scores a part, there is one outcome for each pair, in their order."""
    given_pairs = pairs(count)
    assert values(on(*(FakeEngine(rows=64) for _ in range(devices))), given_pairs) == words(given_pairs)


@pytest.fixture
def slow() -> Iterator[FakeEngine]:
    """Return an engine that is blocked in its second batch."""
    with blocked_engine(rows=CHUNK_PAIRS[0], block_after=1) as engine:
        yield engine


def test_a_fast_device_takes_what_a_slow_one_does_not(slow: FakeEngine) -> None:
    """While one device is busy with a part, the other one scores all that it hasn't taken."""
    fast, given_pairs = FakeEngine(rows=64), pairs(16 * CHUNK_PAIRS[0])
    devices = on(slow, fast)
    done = threading.Event()
    fast_pairs: list[int] = []

    def let_go() -> None:
        slow.blocked.wait()
        while sum(map(len, fast.batches)) < 12 * CHUNK_PAIRS[0] and not done.wait(0.01):
            pass
        fast_pairs.append(sum(map(len, fast.batches)))
        slow.unblock.set()

    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        scored = devices.score_pairs(given_pairs)
    finally:
        done.set()
        thread.join()
    assert [outcome.value for outcome in scored.outcomes if isinstance(outcome, Score)] == words(given_pairs)
    assert fast_pairs[0] >= 12 * CHUNK_PAIRS[0]
    shares = scored.stages[0].facts["device_pairs"]
    assert isinstance(shares, dict)
    assert sum(shares.values()) == len(given_pairs)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("count", [5, 10 * CHUNK_PAIRS[0]], ids=["one part", "many parts"])
def test_a_device_that_dies_is_taken_out_and_its_work_redone(after: int, count: int) -> None:
    """All pairs are scored by the others in the same call, and later calls leave the device out."""
    lost, alive = Lost(after), FakeEngine(rows=64)
    devices, given_pairs = on(lost, alive), pairs(count)
    for _ in range(100):
        assert values(devices, given_pairs) == words(given_pairs)
        if devices.failed:
            break
    assert list(devices.failed) == ["a"]
    assert values(devices, given_pairs) == words(given_pairs)
    assert len(lost.batches) == after


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_two_of_three_devices_die(chunks: int) -> None:
    """The last device scores what both others failed on, however few parts there are."""
    devices, given_pairs = on(Lost(), Lost(), FakeEngine(rows=64)), pairs(chunks * CHUNK_PAIRS[0])
    assert values(devices, given_pairs) == words(given_pairs)
    assert values(devices, given_pairs) == words(given_pairs)


def test_the_report_names_a_failed_device() -> None:
    """The first device asked fails at once: the report has its name and error, and who scored instead."""
    facts = on(Lost(), FakeEngine()).score_pairs(pairs(3)).stages[0].facts
    assert facts["failed_devices"] == {"a": "torch failed while scoring: RuntimeError: CUDA error: the device is lost"}
    assert facts["device_pairs"] == {"b": 3}


def test_what_fails_everywhere_is_the_calls_failure() -> None:
    """A pair that fails on each device fails its call, and takes no device out."""
    first, second = FakeEngine(rows=64), FakeEngine(rows=64)
    first.fails_on = second.fails_on = 7
    devices = on(first, second)
    for count in (10, 10 * CHUNK_PAIRS[0]):
        with pytest.raises(ScoringError, match="a pair of 7 tokens"):
            devices.score_pairs(pairs(count))
    assert devices.failed == {}
    first.fails_on = second.fails_on = None
    assert values(devices, pairs(10)) == words(pairs(10))


def test_the_last_device_is_never_taken_out() -> None:
    """With all others gone, an error of the last device is the call's, and the next call asks it again."""
    alive = FakeEngine(rows=64)
    devices = on(Lost(), alive)
    assert values(devices, pairs(3)) == words(pairs(3))
    alive.error = ScoringError("busy")
    with pytest.raises(ScoringError, match="busy"):
        devices.score_pairs(pairs(3))
    alive.error = None
    assert values(devices, pairs(3)) == words(pairs(3))


def test_devices_that_each_fail_once_are_not_all_taken_out() -> None:
    """Of two calls each takes out the device that failed it: the last one stays, whichever it is."""
    devices, error = on(FakeEngine(rows=64), FakeEngine(rows=64)), ScoringError("a moment's fault")
    assert devices.take_out(0, error)
    assert not devices.take_out(1, error)
    assert values(devices, pairs(300)) == words(pairs(300))
    assert list(devices.failed) == ["a"]


def test_a_device_that_failed_returns_after_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error takes a device out for a while, not for ever."""
    monkeypatch.setattr("secondpass.scorers.devices.REST_SECONDS", 0.0)
    once = Lost()
    devices = on(once, FakeEngine(rows=64))
    assert values(devices, pairs(3)) == words(pairs(3))
    once.after = 10**9
    assert devices.failed == {}
    assert devices.score_pairs(pairs(3)).stages[0].facts["device_pairs"] == {"a": 3}


def test_a_pair_too_large_for_one_device_is_scored_on_another() -> None:
    """Memory that doesn't suffice for a pair is no reason to take a device out."""
    small, large = FakeEngine(memory=0), FakeEngine()
    devices = on(small, large)
    assert values(devices, pairs(6)) == words(pairs(6))
    assert devices.failed == {}


def test_halving_stays_on_the_device() -> None:
    """A device that refuses more than three pairs at once gets smaller batches, and keeps its part."""
    engine = FakeEngine(rows=8, memory=3)
    assert values(on(engine), pairs(20)) == words(pairs(20))
    assert max(map(len, engine.batches)) <= 3


def test_a_warmup_tries_failed_devices_again() -> None:
    """A device that works again after ``warmup`` is used again."""
    lost = Lost()
    devices = on(lost, FakeEngine(rows=64))
    devices.score_pairs(pairs(3))
    assert list(devices.failed) == ["a"]
    devices.warmup()
    assert list(devices.failed) == ["a"]  # still lost
    lost.after = 10**9
    devices.warmup()
    assert devices.failed == {}


def test_a_deadline_leaves_the_last_pairs_unscored(slow: FakeEngine) -> None:
    """A cancelled call returns with one outcome for each pair, those without a score marked."""
    call = Call()
    threading.Thread(target=lambda: (slow.blocked.wait(), call.cancel()), daemon=True).start()
    outcomes = on(slow).score_pairs(pairs(4 * CHUNK_PAIRS[0]), call=call).outcomes
    assert len(outcomes) == 4 * CHUNK_PAIRS[0]
    reasons = {getattr(outcome, "reason", None) for outcome in outcomes}
    assert UnscoredReason.CANCELLED in reasons


def test_devices_with_other_scores_are_refused() -> None:
    """Scorers of different fingerprints, as of GPUs with different dtypes, can't share a call."""
    other = FakeEngine()
    other.facts = replace(other.facts, spec=replace(other.facts.spec, fingerprint="other"))
    with pytest.raises(ConfigurationError, match="say dtype="):
        on(FakeEngine(), other)


def test_a_model_is_loaded_on_each_device(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for several devices opens the model on each, and gives one scorer."""
    monkeypatch.setattr(load, "split_devices", lambda requested, hardware: ["cpu", "cpu"])
    devices = load.load_scorer(tiny("onnx"), device="cuda:all")
    alone = load.load_scorer(tiny("onnx"), device="cpu")
    assert isinstance(devices, Devices)
    assert len(devices.scorers) == 2
    assert devices.score("fox", ["a bird", "the cat"]) == alone.score("fox", ["a bird", "the cat"])


def test_requests_for_several_devices() -> None:
    """``cuda:all`` names those that there are; a list is split, each once; nonsense is refused."""
    two = Hardware(8, (Gpu(0), Gpu(1)))
    assert split_devices("cuda:all", two) == ["cuda:0", "cuda:1"]
    assert split_devices("cuda:1,cuda:0,cuda:1", two) == ["cuda:1", "cuda:0"]
    PlacementRequest("cuda:all")
    PlacementRequest("cuda:0,cuda:1")
    with pytest.raises(DeviceError, match="no CUDA device"):
        split_devices("cuda:all", Hardware(8))
    with pytest.raises(DeviceError, match="device must be"):
        PlacementRequest("cuda:0,cpu")

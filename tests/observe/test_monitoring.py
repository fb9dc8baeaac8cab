"""Observers for production: the counter of falls, and the shadow."""

import logging
import threading
from collections.abc import Iterator

import pytest
from worlds import Failing, Scripted

from secondpass import Reranker
from secondpass.errors import ConfigurationError
from secondpass.logs import REPEATED_WARNINGS
from secondpass.observe.monitoring import FallCounter, Shadow, ShadowResult
from secondpass.records import Pair, Scored

SCORES = {"a": 1.0, "b": 2.0, "c": 3.0}


@pytest.fixture(autouse=True)
def _fresh_warnings() -> Iterator[None]:
    REPEATED_WARNINGS.clear()
    yield
    REPEATED_WARNINGS.clear()


class Blocked(Scripted):
    """Scores when it is let."""

    def __init__(self) -> None:
        super().__init__(SCORES)
        self.free = threading.Event()

    def score_pairs(self, pairs: list[Pair], **call: object) -> Scored:
        assert self.free.wait(10)
        return super().score_pairs(pairs)


def test_falls_are_counted_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The share of calls whose first candidate fell below the rank is counted, and warned of once it is too high."""
    falls = FallCounter(2, warn_share=0.5, window=3)
    reranker = Reranker(Scripted(SCORES), observers=[falls])
    with caplog.at_level(logging.WARNING, "secondpass"):
        reranker.rerank("q", ["c", "b", "a"])
        reranker.rerank("q", ["a", "b", "c"])
        assert not caplog.messages
        reranker.rerank("q", ["a", "c", "b"])
        reranker.rerank("", ["a", "b"])  # degraded: not counted
    assert (falls.calls, falls.fallen, falls.share) == (3, 2, pytest.approx(2 / 3))
    assert "in 67 % of the last 3 calls the first stage's best fell below rank 2: run an evaluation" in caplog.messages


def test_a_shadow_records_what_the_other_reranker_does() -> None:
    """The shadow scores the same candidates, and its result is compared with the live one."""
    results: list[ShadowResult] = []
    shadow = Shadow(Reranker(Scripted({"a": 9.0, "b": 2.0, "c": 3.0})), results.append)
    live = Reranker(Scripted(SCORES), observers=[shadow]).rerank("q", ["a", "b", "c"])
    assert shadow.wait()
    (result,) = results
    assert result.live is live
    assert [item.candidate.text for item in result.shadow] == ["a", "c", "b"]
    assert (result.overlap(1), result.overlap(2), result.overlap(), result.same_best) == (0.0, 0.5, 1.0, False)
    assert (shadow.seen, shadow.recorded, shadow.dropped, shadow.failed) == (1, 1, 0, 0)


def test_a_slow_shadow_never_holds_up_a_call() -> None:
    """While the shadow hangs, calls return; what its queue can't hold is dropped and counted."""
    slow = Blocked()
    shadow = Shadow(Reranker(slow), lambda _: None, most_waiting=2)
    live = Reranker(Scripted(SCORES), observers=[shadow])
    for _ in range(8):
        assert [item.candidate.text for item in live.rerank("q", ["a", "b"])] == ["b", "a"]
    assert shadow.dropped >= 5  # one may be in work and two wait
    slow.free.set()
    assert shadow.wait()
    assert shadow.recorded + shadow.dropped == shadow.seen == 8


@pytest.mark.parametrize("broken", ["scorer", "record"])
def test_a_failing_shadow_changes_nothing(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """Failures of the second reranker or of the record are counted and logged, and the next call is still recorded."""
    calls: list[ShadowResult] = []

    def record(result: ShadowResult) -> None:
        calls.append(result)
        if broken == "record":
            raise OSError("disk full")

    second = Reranker(Failing() if broken == "scorer" else Scripted({}), on_error="raise")
    shadow = Shadow(second, record)
    live = Reranker(Scripted(SCORES), observers=[shadow])
    with caplog.at_level(logging.WARNING, "secondpass"):
        assert not live.rerank("q", ["a", "b"]).degraded
        assert not live.rerank("q", ["a", "b"]).degraded
        assert shadow.wait()
    assert shadow.failed == 2
    assert "the shadow reranker or its record failed" in caplog.text


def test_every_so_manieth_call_is_taken() -> None:
    """Of ten calls with ``every=5`` two are scored by the shadow."""
    shadow = Shadow(Reranker(Scripted({})), lambda _: None, every=5)
    live = Reranker(Scripted(SCORES), observers=[shadow])
    for _ in range(10):
        live.rerank("q", ["a"])
    assert shadow.wait()
    assert (shadow.seen, shadow.recorded) == (10, 2)


def test_impossible_settings_are_refused() -> None:
    """Ranks and queues hold at least one, shares are shares."""
    with pytest.raises(ConfigurationError, match="far and window"):
        FallCounter(0)
    with pytest.raises(ConfigurationError, match="most_waiting"):
        Shadow(Reranker(Scripted({})), print, most_waiting=0)

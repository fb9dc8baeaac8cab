"""The cross-encoder scorer on a fake engine: order, deadlines, failures, copies."""

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Thread

import pytest
from fake_engine import ExpiresWhenBlocked, FakeEngine, blocked_engine

from secondpass import Call, Reranker
from secondpass.errors import ConfigurationError, OutOfMemory, ScoringError
from secondpass.ranking import Cause, Degraded
from secondpass.records import Pair, Score, Unscored, UnscoredReason
from secondpass.scoring.batches import DEADLINE_BLOCK
from secondpass.scoring.cross_encoder import ENCODING_BLOCK, OVERLAPPED_PAIRS, CrossEncoder
from secondpass.scoring.engine import Encoded
from secondpass.scoring.worker import WorkerSettings


def words(*counts: int) -> list[Pair]:
    """Return pairs with different texts of so many words."""
    return [Pair("query", f"word{number} " * count) for number, count in enumerate(counts)]


def values(outcomes: tuple[Score | Unscored, ...]) -> list[float | str]:
    """Return each outcome's value, or the reason why there is none."""
    return [outcome.value if isinstance(outcome, Score) else str(outcome.reason) for outcome in outcomes]


def test_the_order_of_the_pairs_is_restored() -> None:
    """The engine gets the longest pairs first, and the outcomes are in the order of the pairs."""
    engine = FakeEngine(rows=2)
    scored = CrossEncoder(engine).score_pairs(words(1, 5, 3, 4))
    assert engine.batches == [[5, 4], [3, 1]]
    assert values(scored.outcomes) == [1.0, 5.0, 3.0, 4.0]


def test_identical_pairs_are_scored_once() -> None:
    """A pair that comes twice goes through the engine once, and both places have its score."""
    engine = FakeEngine()
    pairs = [Pair("query", text) for text in ("a b", "c", "a b")]
    scored = CrossEncoder(engine).score_pairs(pairs)
    assert (engine.batches, values(scored.outcomes)) == ([[2, 1]], [2.0, 1.0, 2.0])
    assert (scored.stages[0].facts["pairs"], scored.stages[0].facts["repeated_pairs"]) == (3, 1)


def test_identical_pairs_stay_unscored_together() -> None:
    """A pair that comes twice and isn't reached by the deadline is unscored in both places."""
    scored = CrossEncoder(FakeEngine()).score_pairs([Pair("q", "a"), Pair("q", "a")], call=Call(deadline_ms=0))
    assert values(scored.outcomes) == ["deadline", "deadline"]


# Deadlines and cancellation


def test_a_deadline_of_zero_runs_no_batch() -> None:
    """A call whose deadline has passed reaches no forward pass."""
    engine = FakeEngine()
    scored = CrossEncoder(engine).score_pairs(words(1, 2), call=Call(deadline_ms=0))
    assert values(scored.outcomes) == ["deadline", "deadline"]
    assert engine.batches == []


def test_a_stuck_engine_is_left_at_the_deadline() -> None:
    """While the forward pass doesn't return, the call returns at its deadline, with every pair unscored."""
    with blocked_engine() as engine:
        scored = CrossEncoder(engine).score_pairs(words(1, 2), call=Call(deadline_ms=50))
    assert values(scored.outcomes) == ["deadline", "deadline"]


def test_scores_from_before_the_deadline_are_returned() -> None:
    """Where the engine is stuck after its first batch, that batch has its scores and the rest is unscored."""
    with blocked_engine(rows=2, block_after=1) as engine:
        scored = CrossEncoder(engine).score_pairs(words(1, 4, 2, 3), call=ExpiresWhenBlocked(engine))
    assert values(scored.outcomes) == ["deadline", 4.0, "deadline", 3.0]
    assert scored.stages[0].facts["batches"] == 1


def test_a_call_in_the_queue_returns_at_its_deadline() -> None:
    """A call that waits behind another one returns at its deadline, unscored, and never reaches the engine."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine)
        first: list[list[float | str]] = []
        thread = Thread(target=lambda: first.append(values(scorer.score_pairs(words(3)).outcomes)))
        thread.start()
        engine.blocked.wait()
        second = scorer.score_pairs(words(1, 2), call=Call(deadline_ms=50))
        engine.unblock.set()
        thread.join()
    assert values(second.outcomes) == ["deadline", "deadline"]
    assert (first, engine.batches) == ([[3.0]], [[3]])


def test_the_engine_works_on_after_a_missed_deadline() -> None:
    """After an engine was stuck, the next call is scored by it."""
    with blocked_engine() as engine:
        scorer = CrossEncoder(engine)
        scorer.score_pairs(words(1, 2), call=Call(deadline_ms=50))
    assert values(scorer.score_pairs(words(5)).outcomes) == [5.0]


def test_a_cancelled_call_leaves_a_stuck_engine() -> None:
    """A call without a deadline returns once it is cancelled, also while the engine hangs."""
    with blocked_engine() as engine:
        call = Call()
        Thread(target=lambda: (engine.blocked.wait(), call.cancel()), daemon=True).start()
        outcomes = CrossEncoder(engine).score_pairs(words(1, 2), call=call).outcomes
        assert [getattr(outcome, "reason", None) for outcome in outcomes] == [UnscoredReason.CANCELLED] * 2


@pytest.mark.parametrize("deadline_ms", [None, 3_600_000])
def test_a_timeout_error_of_the_library_is_raised(deadline_ms: float | None) -> None:
    """A TimeoutError from the engine isn't taken for the call's deadline: it raises, and the reranker names it."""
    error = TimeoutError("the library's own")
    scorer = CrossEncoder(FakeEngine(error=error))
    with pytest.raises(TimeoutError) as caught:
        scorer.score_pairs(words(1), call=Call(deadline_ms))
    assert caught.value is error
    degraded = Reranker(scorer, deadline_ms=deadline_ms).rerank("query", ["text"]).degraded
    assert degraded == Degraded(Cause.SCORER_FAILED, "the library's own")


def test_cancelling_stops_between_batches() -> None:
    """The batch before the cancellation has its scores; the other pairs are unscored as cancelled."""
    call = Call()
    engine = FakeEngine(rows=1, call=call)
    scored = CrossEncoder(engine).score_pairs(words(3, 2, 1), call=call)
    assert values(scored.outcomes) == [3.0, "cancelled", "cancelled"]


def test_with_a_deadline_the_first_pairs_are_scored_first() -> None:
    """With a deadline pairs are scored in blocks, so that the last ones are unscored, and not the shortest."""
    engine = FakeEngine(rows=64)
    counts = [1] * DEADLINE_BLOCK + [9]
    CrossEncoder(engine).score_pairs(words(*counts), call=Call(deadline_ms=3_600_000))
    assert engine.batches == [[1] * DEADLINE_BLOCK, [9]]


# Memory and failures


def test_a_batch_that_is_too_large_is_halved() -> None:
    """Out of memory, a batch of seven pairs becomes four and three, and those two and two, two and one."""
    engine = FakeEngine(rows=7, memory=2)
    scored = CrossEncoder(engine).score_pairs(words(7, 6, 5, 4, 3, 2, 1))
    assert engine.batches == [[7, 6], [5, 4], [3, 2], [1]]
    assert values(scored.outcomes) == [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert (scored.stages[0].facts["halved"], scored.stages[0].facts["batches"]) == (3, 4)


def test_a_single_pair_that_does_not_fit_is_out_of_memory() -> None:
    """A single pair can't be halved: ``OutOfMemory`` is raised."""
    with pytest.raises(OutOfMemory, match="no memory for 1 pairs"):
        CrossEncoder(FakeEngine(rows=4, memory=0)).score_pairs(words(1, 2, 3))


@pytest.mark.parametrize(
    "error",
    [ScoringError("the engine broke"), AttributeError("a bug"), KeyError("a bug"), TypeError("a bug")],
    ids=repr,
)
def test_an_engines_exception_is_raised_in_the_callers_thread(error: Exception) -> None:
    """An exception on the worker's thread is raised where the call was made, and the next call is scored."""
    engine = FakeEngine(error=error)
    scorer = CrossEncoder(engine)
    with pytest.raises(type(error)) as caught:
        scorer.score_pairs(words(1))
    assert caught.value is error
    engine.error = None
    assert values(scorer.score_pairs(words(2)).outcomes) == [2.0]


# The report, copies and pickles


def test_the_stage_has_the_figures_of_the_call() -> None:
    """The stage has model and device, and counts pairs, batches, and tokens with and without padding."""
    (stage,) = CrossEncoder(FakeEngine(rows=2)).score_pairs(words(4, 1, 3)).stages
    names = ("model", "device", "pairs", "batches", "tokens", "padded_tokens")
    assert {name: stage.facts[name] for name in names} == {
        "model": "fake",
        "device": "cpu",
        "pairs": 3,
        "batches": 2,
        "tokens": 4 + 1 + 3,
        "padded_tokens": 2 * 4 + 1 * 1,
    }


def test_warming_up_runs_the_engine_once() -> None:
    """A warm-up is one forward pass."""
    engine = FakeEngine()
    CrossEncoder(engine).warmup()
    assert engine.batches == [[1]]


def test_copies_are_the_scorer_itself() -> None:
    """Shallow and deep copies share the loaded model."""
    scorer = CrossEncoder(FakeEngine())
    assert copy.copy(scorer) is scorer
    assert copy.deepcopy({"scorer": scorer})["scorer"] is scorer


def test_pickling_says_what_to_do_instead() -> None:
    """A loaded model can't be pickled, and the error says to load it in the other process."""
    with pytest.raises(ConfigurationError, match="a loaded model can't be pickled: pickle the settings"):
        pickle.dumps(CrossEncoder(FakeEngine()))


def test_a_deadline_is_kept_while_long_texts_are_tokenised() -> None:
    """With a deadline the pairs are tokenised in blocks; those that there was no time for stay unscored."""
    call = Call(deadline_ms=60_000)
    engine = FakeEngine()
    encode = engine.encode

    def encode_once(pairs: Sequence[Pair]) -> list[Encoded]:
        call.deadline = 0.0  # passed while the first block is tokenised
        return encode(pairs)

    engine.encode = encode_once  # type: ignore[method-assign]
    outcomes = CrossEncoder(engine).score_pairs(words(*range(1, 31)), call=call).outcomes
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [UnscoredReason.DEADLINE] * 30


def on_a_gpu(engine: FakeEngine) -> FakeEngine:
    """Let the engine say that it runs on a GPU."""
    engine.facts = replace(engine.facts, placement=replace(engine.facts.placement, device="cuda:0"))
    return engine


def test_the_next_pairs_are_tokenised_while_a_gpu_works() -> None:
    """While a GPU is in its first batch the next pairs of the call are tokenised; outcomes and figures are of all."""
    pairs = [Pair("q", f"{number} " + "w " * (number % 7)) for number in range(3 * OVERLAPPED_PAIRS + 5)]
    with blocked_engine(rows=OVERLAPPED_PAIRS) as engine:
        on_a_gpu(engine)
        encode, second = engine.encode, Event()
        parts: list[int] = []

        def noted(part: Sequence[Pair]) -> list[Encoded]:
            parts.append(len(part))
            if sum(parts) > OVERLAPPED_PAIRS and not second.is_set():
                engine.blocked.wait()  # the first batch is in progress
                second.set()
            return encode(part)

        engine.encode = noted  # type: ignore[method-assign]
        Thread(target=lambda: (second.wait(), engine.unblock.set())).start()
        scored = CrossEncoder(engine).score_pairs(pairs)
    assert values(scored.outcomes) == [float(len(pair.text.split())) for pair in pairs]
    assert sum(parts) == len(pairs)
    facts = scored.stages[0].facts
    assert (facts["pairs"], facts["batches"]) == (len(pairs), 4)
    assert facts["tokens"] == sum(len(pair.text.split()) for pair in pairs)


def test_an_error_in_a_part_ends_the_call_on_a_gpu() -> None:
    """If one part of a large call fails, the call fails with its error, and the others are taken out of the queue."""
    engine = on_a_gpu(FakeEngine(rows=64))
    engine.fails_on = 9
    pairs = [Pair("q", f"{number} " + "w " * (8 if number == 5 else 2)) for number in range(8 * OVERLAPPED_PAIRS)]
    scorer = CrossEncoder(engine)
    with pytest.raises(ScoringError, match="a pair of 9 tokens"):
        scorer.score_pairs(pairs)
    assert values(scorer.score_pairs(pairs[:3]).outcomes) == [3.0, 3.0, 3.0]


def test_a_large_call_on_a_gpu_does_not_fill_the_queue() -> None:
    """A call of more pairs than may wait is scored, as its parts don't wait all at once."""
    engine = on_a_gpu(FakeEngine(rows=64))
    scorer = CrossEncoder(engine, limits=WorkerSettings(max_pairs=100))
    pairs = [Pair("q", str(number)) for number in range(1000)]
    assert values(scorer.score_pairs(pairs).outcomes) == [1.0] * len(pairs)


def test_a_cancelled_call_is_not_tokenised_to_its_end() -> None:
    """Long texts take seconds; after a block of pairs the call looks whether its caller has gone."""

    class CancelledMeanwhile(FakeEngine):
        tokenised = 0

        def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
            self.tokenised += len(pairs)
            call.cancel()
            return super().encode(pairs)

    engine, call = CancelledMeanwhile(), Call()
    outcomes = CrossEncoder(engine).score("query", [f"text {i}" for i in range(1000)], call=call)
    assert (engine.tokenised, len(outcomes), engine.batches) == (ENCODING_BLOCK, 1000, [])

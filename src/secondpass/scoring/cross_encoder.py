"""The cross-encoder: tokenise, batch by tokens, run the engine, restore the order."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from secondpass.scores import Call, Pair, Score, Scored, Spec, Stage, Unscored, UnscoredReason
from secondpass.scoring.engine import Encoded, Engine
from secondpass.scoring.protocol import BaseScorer
from secondpass.scoring.worker import Job, Pass, Worker
from secondpass.text import well_formed

HEAD_CHARACTERS = 100_000
"""What is tokenised of a very long text: far more than a model reads; the rest is only counted, by extrapolation."""
QUERY_HEAD_CHARACTERS = 10_000
"""The same for a question, which is tokenised with every candidate."""


class CrossEncoder(BaseScorer):
    """A model that reads question and text together. Safe to share between threads.

    :param engine: What runs the model.
    :param worker: The thread that it runs on; by default one of its own.
    """

    def __init__(self, engine: Engine, worker: Worker | None = None) -> None:
        self._engine = engine
        self._worker = worker or Worker(engine.facts.placement.device)

    def __repr__(self) -> str:
        """Say which model runs where."""
        facts = self._engine.facts
        return f"CrossEncoder({facts.spec.name!r}, {facts.engine}, {facts.placement.device}, {facts.placement.dtype})"

    @property
    def spec(self) -> Spec:
        """What is known of the model."""
        return self._engine.facts.spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If the engine broke down.
        :raises ModelError: If the model's output can't be read.
        """
        call = call or Call()
        started = time.perf_counter()
        encoded = self._encode(pairs)
        tokenised = time.perf_counter()
        future = self._worker.submit(Job(self._engine, encoded, call))
        try:
            done = future.result()
        finally:
            if not future.done():  # the caller was interrupted: nobody waits for the rest
                call.cancel()
        outcomes = tuple(self._outcome(row, item) for row, item in zip(done.rows, encoded, strict=True))
        facts = self._facts(encoded, done) | {"tokenise_seconds": round(tokenised - started, 6)}
        return Scored(outcomes, self.spec, (Stage("score", time.perf_counter() - started, facts),))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens as the model makes them, special tokens left out."""
        return self._engine.count_tokens([well_formed(text) for text in texts])

    def warmup(self) -> None:
        """Run the model once, so that the first question doesn't wait for it."""
        self.score_pairs([Pair("warm", "up")])

    def release(self) -> None:
        """Give the model's memory back once the work in hand is done; the next call loads it again."""
        self._worker.run(self._engine.release).result()

    def _encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        heads = [Pair(_head(pair.query, QUERY_HEAD_CHARACTERS), _head(pair.text, HEAD_CHARACTERS)) for pair in pairs]
        encoded = self._engine.encode(heads)
        return [_with_unread(*both) for both in zip(encoded, heads, pairs, strict=True)]

    def _outcome(self, row: list[float] | UnscoredReason, encoded: Encoded) -> Score | Unscored:
        if isinstance(row, UnscoredReason):
            return Unscored(row)
        value = self._engine.facts.head.value(row)
        if not math.isfinite(value):
            return Unscored(UnscoredReason.INVALID, f"the model gave {value}")
        return Score(value, truncated=encoded.truncated)

    def _facts(self, encoded: Sequence[Encoded], done: Pass) -> dict[str, object]:
        facts = self._engine.facts
        return {
            "model": facts.spec.name,
            "engine": facts.engine,
            "device": facts.placement.device,
            "dtype": facts.placement.dtype,
            "placement": facts.placement.reason,
            "batch_invariant": facts.spec.batch_invariant,
            "pairs": len(encoded),
            "batches": done.batches,
            "halved": done.halved,
            "tokens": sum(item.length for item in encoded),
            "padded_tokens": done.padded,
            "truncated_pairs": sum(item.truncated > 0 for item in encoded),
            "queue_seconds": round(done.waited, 6),
            "forward_seconds": round(done.seconds, 6),
        }


def _head(text: str, characters: int) -> str:
    return well_formed(text[:characters])


def _with_unread(encoded: Encoded, head: Pair, pair: Pair) -> Encoded:
    """Add the tokens of what was cut off before tokenising, taken to be as dense as what was not."""
    read, whole = (len(both.query) + len(both.text) for both in (head, pair))
    if read == whole:
        return encoded
    density = (encoded.length + encoded.truncated) / read
    return replace(encoded, truncated=encoded.truncated + round(density * (whole - read)))

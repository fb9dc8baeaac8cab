"""The engine protocol: tokenisation and forward pass of one model in one library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from secondpass.records import Pair, Scale, ScaleKind, Spec


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised pair.

    :param length: Its tokens, special tokens included, after truncation.
    :param truncated: How many tokens of the text were cut off.
    :param features: The model's inputs, in the engine's own form.
    :param unreadable: Which part is in a script that the model doesn't read, in words; empty for none.
    :param query_cut: How many tokens of the query were cut off before.
    """

    length: int
    truncated: int
    features: Mapping[str, Any]
    unreadable: str = ""
    query_cut: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """Converts a row of raw outputs to one value.

    :param labels: The number of outputs of each pair.
    :param positive: The column that means "relevant".
    :param scale: The value's scale.
    """

    labels: int
    positive: int
    scale: Scale

    def value(self, row: Sequence[float]) -> float:
        """Return one value from a row of ``labels`` outputs, higher is better.

        One label is its own value. With more, the value is the log-odds of the positive label against all others,
        ``z_p - log(sum(exp(z_i), i != p))``, so that the logistic function of it is the softmax probability. Outputs
        that are probabilities already stay as they are. NaN or infinity in the row come through as NaN or infinity.
        """
        if self.labels == 1 or self.scale.kind is ScaleKind.PROBABILITY:
            return row[self.positive]
        others = [output for column, output in enumerate(row) if column != self.positive]
        top = max(others)
        if not math.isfinite(top):
            return math.nan
        return row[self.positive] - (top + math.log(sum(math.exp(output - top) for output in others)))


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a batch.

    :param max_tokens: Padded tokens, rows times the longest row; of packed batches the sum of the rows. A single longer
        pair is still a batch.
    :param max_rows: Pairs; None for no limit.
    :param length_step: Lengths are rounded up to a multiple of this, for devices that compile for each shape.
    :param packed: Whether rows lie end to end, without padding.
    """

    max_tokens: int
    max_rows: int | None = None
    length_step: int = 1
    packed: bool = False

    def padded(self, length: int) -> int:
        """Return the padded length of a row of this many tokens."""
        return -(-length // self.length_step) * self.length_step

    def tokens(self, lengths: Sequence[int]) -> int:
        """Return the tokens of a batch of rows, padding included; at least one a row."""
        if self.packed:
            return sum(max(1, length) for length in lengths)
        return len(lengths) * max(1, self.padded(max(lengths)))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model runs.

    :param device: ``"cpu"``, ``"cuda:N"`` or ``"mps"``.
    :param dtype: The dtype of the computation.
    :param limits: The limits of a batch.
    :param reason: Why, for the report.
    """

    device: str
    dtype: str
    limits: BatchLimits
    reason: str


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Properties of an engine with an open model.

    :param spec: The scorer's specification.
    :param head: Converts a row of raw outputs to one value.
    :param placement: Device, dtype and batch limits.
    :param engine: The engine's name.
    :param reads_end: Whether of a long text the end is read, as the model's ``truncation_side`` says.
    """

    spec: Spec
    head: Head
    placement: Placement
    engine: str
    reads_end: bool = False


class Engine(Protocol):
    """Runs one model.

    ``encode`` and ``count_tokens`` may be called from any thread, ``forward`` and ``release`` from the worker's alone.
    So is ``warmup()``, where an engine has it: it measures what makes later batches faster.
    """

    facts: EngineFacts

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Tokenise pairs, truncated to the model's maximum length.

        :param pairs: The pairs, without lone surrogates.
        """
        ...

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Return the raw outputs, (pairs, labels).

        :raises ScoringError: If the library failed; ``OutOfMemory`` if a smaller batch may fit into memory.
        :raises ModelError: If the model's output has another shape.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens."""
        ...

    def release(self) -> None:
        """Free the model's memory; the next ``forward`` loads it again."""
        ...

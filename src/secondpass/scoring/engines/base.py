"""The engine protocol: tokenisation and forward pass of one model in one library."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from secondpass.errors import ScoringError, SecondpassError
from secondpass.scores import Pair, Spec
from secondpass.scoring.hardware import Placement, Request
from secondpass.scoring.heads import Head
from secondpass.scoring.model_files import ModelFolder


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


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings with which an engine opens a model.

    :param name: The model's name as the user gave it.
    :param folder: The folder with its files.
    :param request: The requested device, dtype, threads and batch limits.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param label: The output column that means "relevant"; None takes it from the model's configuration.
    :param trust_remote_code: Whether Python code that comes with the model may run.
    :param packed: Whether batches have no padding, of engines that can do both; None for where it pays.
    """

    name: str
    folder: ModelFolder
    request: Request = field(default_factory=Request)
    max_length: int | None = None
    label: int | None = None
    trust_remote_code: bool = False
    packed: bool | None = None


@contextmanager
def scoring_errors(library: str, foreign: tuple[type[Exception], ...]) -> Iterator[None]:
    """Convert a library's exceptions to ``ScoringError``, with their cause.

    :param library: The library's name.
    :param foreign: Its exception types; all others pass through.
    """
    try:
        yield
    except SecondpassError:
        raise
    except foreign as error:
        raise ScoringError(f"{library} failed while scoring: {type(error).__name__}: {error!s:.500}") from error

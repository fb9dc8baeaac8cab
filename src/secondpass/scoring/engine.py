"""The second seam, under the cross-encoder: whatever turns tokenised pairs into a model's raw outputs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from secondpass.errors import ScoringError, SecondpassError
from secondpass.scores import Pair, Spec
from secondpass.scoring.devices import Placement, Request
from secondpass.scoring.heads import Head


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised pair.

    :param length: Its tokens, special tokens included, after truncation.
    :param truncated: How many tokens truncation took away.
    :param features: The engine's own; nobody else looks inside.
    """

    length: int
    truncated: int
    features: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is known of an engine once its model is open.

    :param spec: What is known of the scorer that it makes.
    :param head: How a row of raw outputs becomes one value.
    :param placement: Where it runs, and why there.
    :param engine: The engine's name.
    """

    spec: Spec
    head: Head
    placement: Placement
    engine: str


class Engine(Protocol):
    """What the cross-encoder needs of an engine.

    ``encode`` and ``count_tokens`` may be called from any thread, ``forward`` and ``release`` only from the worker's.
    """

    facts: EngineFacts

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Tokenise pairs, truncated to the model's length; texts hold no lone surrogates."""
        ...

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Return the raw outputs: a row for each pair, a column for each label.

        :raises ScoringError: If the library failed; ``OutOfMemory`` if a smaller batch may succeed.
        :raises ModelError: If the model's output hasn't this shape.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, special tokens left out."""
        ...

    def release(self) -> None:
        """Give the model's memory back; the next ``forward`` loads it again."""
        ...


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is opened with.

    :param name: The model's name as the user gave it.
    :param folder: Where its files are.
    :param revision: The revision of the files, where a hub gave one.
    :param request: The device, dtype and batch ceilings that the user asked for.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param label: The output column that means "relevant"; None finds it in the model's configuration.
    :param trust_remote_code: Whether the model's own Python code may run.
    """

    name: str
    folder: Path
    revision: str | None = None
    request: Request = field(default_factory=Request)
    max_length: int | None = None
    label: int | None = None
    trust_remote_code: bool = False


@contextmanager
def scoring_errors(library: str, foreign: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn a library's exceptions into ``ScoringError``, with their cause."""
    try:
        yield
    except SecondpassError:
        raise
    except foreign as error:
        raise ScoringError(f"{library} failed while scoring: {type(error).__name__}: {error!s:.500}") from error

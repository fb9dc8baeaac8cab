"""The settings with which an engine opens a model, and the conversion of a library's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from secondpass.errors import ScoringError, SecondpassError
from secondpass.models.files import ModelFolder
from secondpass.models.hardware import PlacementRequest


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
    request: PlacementRequest = field(default_factory=PlacementRequest)
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

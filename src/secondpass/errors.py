"""The exceptions of secondpass, and the check for optional dependencies.

::

    SecondpassError
    ├── ConfigurationError (ValueError)     an invalid setting; raised whatever ``on_error`` is
    │   ├── ModelError                      a model that can't be used as a cross-encoder
    │   │   ├── ModelNotFound               no such bundled model, folder or hub id, or no connection to the hub
    │   │   └── LossTooHigh                 an optimised model whose scores differ too much from the original's
    │   ├── DeviceError                     a device or dtype that is not available
    │   ├── BudgetError                     a context budget that is invalid or can't be computed
    │   └── MissingExtra (ImportError)      an optional dependency that is not installed
    ├── InputError (ValueError, TypeError)  an invalid query, candidate, document or node
    └── ScoringError (RuntimeError)         the scorer failed; ``on_error`` decides
        ├── OutOfMemory                     a batch did not fit into the device's memory
        └── QueueFull                       too many pairs wait for the device

A message says what must hold, what was given, and what to do.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SecondpassError(Exception):
    """The base class of all exceptions of secondpass."""


class ConfigurationError(SecondpassError, ValueError):
    """An invalid setting; raised whatever ``on_error`` is."""


class ModelError(ConfigurationError):
    """A model that can't be used as a cross-encoder."""


class ModelNotFound(ModelError):
    """No bundled model, folder or hub model has the given name, or the hub can't be reached."""


class LossTooHigh(ModelError):
    """An optimised model whose scores differ too much from those of the original.

    :param message: Which bounds were exceeded.
    :param figures: All measurements, a ``secondpass.optimize.FormReport``.
    """

    def __init__(self, message: str, figures: object) -> None:
        super().__init__(message)
        self.figures = figures


class DeviceError(ConfigurationError):
    """A device or dtype that is not available."""


class BudgetError(ConfigurationError):
    """A context budget that is invalid or can't be computed."""


class MissingExtra(ConfigurationError, ImportError):
    """An optional dependency that is not installed.

    :param needed_for: The feature that needs it, as the subject of a sentence.
    :param package: The missing distribution.
    :param extra: The extra of secondpass that installs it; empty for the base install.
    """

    def __init__(self, needed_for: str, package: str, extra: str) -> None:
        wanted = f'"secondpass[{extra}]"' if extra else "secondpass"
        super().__init__(f"{needed_for} needs {package}, which is not installed: pip install {wanted}")
        self.package = package
        self.extra = extra


class InputError(SecondpassError, ValueError, TypeError):
    """An invalid query, candidate, document, node or score."""


class ScoringError(SecondpassError, RuntimeError):
    """A scorer failed; errors of its library are chained as ``__cause__``."""


class OutOfMemory(ScoringError):
    """A batch did not fit into the device's memory."""


class QueueFull(ScoringError):
    """Too many pairs wait for the device."""


def require(feature: str, extra: str, *packages: str) -> None:
    """Check that a feature's optional dependencies are installed, without importing them.

    :param feature: What needs them, as the subject of a sentence.
    :param extra: The extra of secondpass that installs them; empty for the base install.
    :param packages: Names of distributions whose import name is the same but for hyphens.
    :raises MissingExtra: For the first that is not installed.
    """
    for package in packages:
        if not is_installed(package):
            raise MissingExtra(feature, package, extra)


def is_installed(package: str) -> bool:
    """Return whether a distribution can be imported under its own name, hyphens as underscores."""
    return find_spec(package.replace("-", "_")) is not None


def contained(
    work: Callable[[Sequence[_Item]], Sequence[_Result]], items: Sequence[_Item], instead: Callable[[_Item], _Result]
) -> list[_Result]:
    """Return what native code gives for items; where it fails, for each alone, with another result for a culprit.

    A panic in Rust is a ``PanicException`` below ``BaseException``, which no ``except Exception`` catches and no
    library exports; errors of such code are bare ``Exception``s. All others pass, ``KeyboardInterrupt`` and
    cancellations among them.

    :param work: Calls the library; returns one result for each item.
    :param items: What it is given.
    :param instead: The result for an item on which it fails by itself.
    """
    try:
        return list(work(items))
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
    if len(items) == 1:
        return [instead(items[0])]
    return [result for item in items for result in contained(work, [item], instead)]

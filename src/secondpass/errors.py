"""Everything that secondpass raises on purpose.

::

    SecondpassError
    ├── ConfigurationError (ValueError)     always raised, never turned into a degraded ranking
    │   ├── ModelError                      weights, labels or output shape that can't be used
    │   │   ├── ModelNotFound               no such folder, no such hub id, or a hub that can't be reached
    │   │   └── LossTooHigh                 an optimised model whose scores are too far from the original's
    │   ├── DeviceError                     a device or dtype that this machine doesn't have
    │   ├── BudgetError                     a context budget that can't be computed, or is negative
    │   └── MissingExtra (ImportError)      an optional dependency that isn't installed
    ├── InputError (ValueError, TypeError)  a query or a candidate that isn't one
    └── ScoringError (RuntimeError)         the scorer failed at its work; the first-stage order is still good
        └── OutOfMemory                     the device had no room for a batch

A message says what must hold, what came, and what to do.
"""

from importlib.util import find_spec


class SecondpassError(Exception):
    """The root of every error that secondpass raises on purpose."""


class ConfigurationError(SecondpassError, ValueError):
    """A setting that can't work; it is raised whatever ``on_error`` says."""


class ModelError(ConfigurationError):
    """A model was found, but it can't be used as a cross-encoder."""


class ModelNotFound(ModelError):
    """No model was found under the name that was given."""


class LossTooHigh(ModelError):
    """An optimised model's scores are too far from those of the model that it was made from.

    :param message: What was lost.
    :param figures: All that was measured, a ``secondpass.optimize.FormReport``.
    """

    def __init__(self, message: str, figures: object) -> None:
        super().__init__(message)
        self.figures = figures


class DeviceError(ConfigurationError):
    """The device or the dtype that was asked for isn't there."""


class BudgetError(ConfigurationError):
    """The context budget is negative, or can't be computed from what is known."""


class MissingExtra(ConfigurationError, ImportError):
    """An optional dependency is needed and not installed.

    :param needed_for: What wants it, as the subject of a sentence.
    :param package: The distribution that is missing.
    :param extra: The extra of secondpass that brings it; empty where the base install does.
    """

    def __init__(self, needed_for: str, package: str, extra: str) -> None:
        wanted = f'"secondpass[{extra}]"' if extra else "secondpass"
        super().__init__(f"{needed_for} needs {package}, which is not installed: pip install {wanted}")
        self.package = package
        self.extra = extra


def require(feature: str, extra: str, *packages: str) -> None:
    """Raise unless every package is installed; nothing is imported to find out.

    :param feature: What needs them, as the subject of a sentence.
    :param extra: The extra of secondpass that brings them; empty where the base install does.
    :param packages: The names under which they are imported.
    :raises MissingExtra: For the first package that isn't there.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(feature, package, extra)


class InputError(SecondpassError, ValueError, TypeError):
    """What came as a query, a candidate or a score isn't one."""


class ScoringError(SecondpassError, RuntimeError):
    """A scorer failed while scoring; foreign exceptions arrive as this one, with their cause."""


class OutOfMemory(ScoringError):
    """The device had no room for a batch of this size."""

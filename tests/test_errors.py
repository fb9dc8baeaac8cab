"""The tree of errors, as its docstring draws it."""

import inspect
import re

import pytest

from secondpass import errors
from secondpass.errors import ConfigurationError, InputError, MissingExtra, OutOfMemory, ScoringError, SecondpassError

DRAWN = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")


def test_the_drawing_shows_every_error() -> None:
    """The tree in the module's docstring names exactly the classes that there are, the root aside."""
    there = {name for name, value in vars(errors).items() if inspect.isclass(value) and value is not SecondpassError}
    assert set(DRAWN) == there


@pytest.mark.parametrize("name", DRAWN)
def test_one_root_catches_everything(name: str) -> None:
    """Whoever catches SecondpassError catches every error that secondpass raises on purpose."""
    assert issubclass(getattr(errors, name), SecondpassError)


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (ConfigurationError, ValueError),
        (MissingExtra, ImportError),
        (InputError, TypeError),
        (ScoringError, RuntimeError),
        (OutOfMemory, ScoringError),
    ],
)
def test_errors_are_also_what_python_calls_them(ours: type[Exception], builtin: type[Exception]) -> None:
    """Code that catches Python's own classes catches ours."""
    assert issubclass(ours, builtin)


def test_a_failure_while_scoring_is_no_configuration_error() -> None:
    """What degrades a ranking and what always raises are different branches of the tree."""
    assert not issubclass(ScoringError, ConfigurationError)
    assert not issubclass(InputError, ConfigurationError)


def test_a_missing_extra_prints_the_install_line() -> None:
    """A missing extra says what needs it and which command brings it."""
    error = MissingExtra("the torch engine", "sentence-transformers", "torch")
    assert str(error) == (
        'the torch engine needs sentence-transformers, which is not installed: pip install "secondpass[torch]"'
    )
    assert (error.package, error.extra) == ("sentence-transformers", "torch")

"""Conversion of a library's exceptions."""

import pytest

from secondpass.engines.opening import scoring_errors
from secondpass.errors import ModelError, ScoringError


def test_a_librarys_exception_becomes_a_scoring_error() -> None:
    """A library's exception is raised as ScoringError, with its type and message, and itself as the cause."""
    error = RuntimeError("cuBLAS")
    with (
        pytest.raises(ScoringError, match="torch failed while scoring: RuntimeError: cuBLAS") as caught,
        scoring_errors("torch", (RuntimeError,)),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_the_packages_own_errors_pass_through() -> None:
    """An exception of the package isn't converted, though it is also a ValueError."""
    with pytest.raises(ModelError, match="wrong shape"), scoring_errors("torch", (ValueError,)):
        raise ModelError("wrong shape")


@pytest.mark.parametrize("error", [AttributeError("a bug"), KeyError("a bug"), TypeError("a bug")], ids=repr)
def test_programming_errors_pass_through(error: Exception) -> None:
    """An exception of another type than the library's is raised as it is."""
    with pytest.raises(type(error)) as caught, scoring_errors("torch", (RuntimeError,)):
        raise error
    assert caught.value is error

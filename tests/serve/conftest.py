"""A running server for the tests of ``secondpass serve``."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from serve_support import Running

for package in ("starlette", "uvicorn", "prometheus_client", "httpx", "tenacity"):
    pytest.importorskip(package, reason="the extra serve or remote isn't installed")


@pytest.fixture
def serve() -> Iterator[Callable[..., "Running"]]:
    """Return a function that runs a server until the test's end."""
    from serve_support import serving  # imports the extra's libraries

    with ExitStack() as stack:
        yield lambda *args, **settings: stack.enter_context(serving(*args, **settings))


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    """Return one server for all examples of a property."""
    from serve_support import serving  # as above

    from secondpass import OverlapScorer

    with serving(OverlapScorer()) as server:
        yield server

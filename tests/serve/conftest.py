"""A running server for the tests of ``secondpass serve``."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from serve_support import Running, serving

from secondpass import OverlapScorer


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Return a function that runs a server until the test's end."""
    with ExitStack() as stack:
        yield lambda *args, **settings: stack.enter_context(serving(*args, **settings))


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """Return one server for all examples of a property."""
    with serving(OverlapScorer()) as server:
        yield server

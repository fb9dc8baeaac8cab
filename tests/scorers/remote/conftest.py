"""The local reranking server, for the tests of remote scorers."""

from collections.abc import Iterator

import pytest
from reranking_server import RerankingServer, running


@pytest.fixture
def server() -> Iterator[RerankingServer]:
    """Return a running server that speaks every dialect."""
    with running() as state:
        yield state

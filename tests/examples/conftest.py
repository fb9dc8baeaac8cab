"""The examples' packages and their bi-encoder, and texts few enough for a test."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # the examples are programs over the library, not a part of it


@pytest.fixture(autouse=True)
def _event_loop_of_its_own() -> Iterator[None]:
    """Give LlamaIndex's synchronous calls an event loop, and close it: they would leave theirs open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop_policy(None)  # whose first loop is made anew


@pytest.fixture(scope="session", autouse=True)
def bi_encoder() -> None:
    """Fetch the bi-encoder once, or skip where there is neither a cache nor a connection."""
    from secondpass.cli.ask.bi_encoder import cache_folder, fetch_bi_encoder
    from secondpass.errors import MissingExtra, ModelNotFound

    try:
        fetch_bi_encoder(cache_folder())
    except (ModelNotFound, MissingExtra) as error:
        pytest.skip(f"the examples need the bi-encoder: {error}")


@pytest.fixture(scope="session")
def topics() -> tuple[str, ...]:
    """Return topics of Python's reference whose passages answer some of the judged questions."""
    return ("with", "power", "naming", "comparisons")

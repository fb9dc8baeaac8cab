"""Ray on this machine: bulk reranking, resuming, and the loss of an actor."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from secondpass import Reranker, Selection
from secondpass.cluster import Summary, Workers, rankings, rerank_dataset
from secondpass.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and files to its processes
QUERIES = [
    {
        "id": f"q{number}",
        "query": f"what is the number {number}?",
        "candidates": [{"id": f"d{place}", "text": f"text {place} about {number + place % 3}"} for place in range(6)],
    }
    for number in range(24)
]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Run Ray with two processors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, logging_level="error", object_store_memory=80_000_000)
        yield
        ray.shutdown()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file of queries with their candidates."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(query) + "\n" for query in QUERIES))
    return path


def expected() -> list[dict[str, Any]]:
    """Return the rankings of this process."""
    reranker = Reranker("nano", selection=Selection(duplicates="keep"))
    found = reranker.rerank_many((query["query"], [c["text"] for c in query["candidates"]]) for query in QUERIES)
    return [{"id": query["id"], "order": [kept.index for kept in r]} for query, r in zip(QUERIES, found, strict=True)]


def orders(output: Path) -> list[dict[str, Any]]:
    return [{"id": row["id"], "order": [r["index"] for r in row["results"]]} for row in rankings(output)]


def test_bulk_gives_the_rankings_of_this_process_and_survives_an_actor(source: Path, tmp_path: Path) -> None:
    """Each query is in the output once, in order, although an actor is killed while it writes a block."""
    output, killed = tmp_path / "out", threading.Event()

    def kill() -> None:
        while not killed.is_set():
            for path in output.glob("block-*.partial"):
                os.kill(int(path.suffixes[-2].removeprefix(".")), signal.SIGKILL)
                killed.set()
                return

    killer = threading.Thread(target=kill)
    killer.start()
    summary = rerank_dataset(source, output, model="nano", workers=Workers(count=2), block_bytes=1200)
    assert killed.is_set()
    killer.join()
    assert summary.queries == 24
    assert summary.pairs == 144
    assert orders(output) == expected()
    assert list(output.glob("*.partial")) == []


def test_a_run_continues_where_it_was_cut_off(source: Path, tmp_path: Path) -> None:
    """Finished blocks stay as they are; the missing ones are made; another plan is refused."""
    output = tmp_path / "out"
    first = rerank_dataset(source, output, model="overlap", block_bytes=4000)
    whole = list(rankings(output))
    files = sorted(output.glob("block-*.jsonl"))
    files[1].unlink()
    files[0].write_text(files[0].read_text() + "\n")  # a mark: it isn't written again
    files[1].with_suffix(".1.partial").write_text('{"half')
    again = rerank_dataset(source, output, model="overlap", block_bytes=4000)
    assert again.blocks == first.blocks == again.resumed + 1
    assert files[0].read_text().endswith("\n\n")
    files[0].write_text(files[0].read_text().rstrip("\n") + "\n")
    assert list(rankings(output)) == whole
    assert list(output.glob("*.partial")) == []
    assert rerank_dataset(source, output, model="overlap", block_bytes=4000) == Summary(
        first.blocks, first.blocks, 0, 0
    )
    with pytest.raises(ConfigurationError, match="another folder"):
        rerank_dataset(source, output, model="nano", block_bytes=4000)


def test_parquet_gives_the_same(source: Path, tmp_path: Path) -> None:
    """Rows of a Parquet file are read as lines are."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(QUERIES), tmp_path / "in.parquet", row_group_size=10)
    rerank_dataset(source, tmp_path / "lines", model="overlap")
    rerank_dataset(tmp_path / "in.parquet", tmp_path / "rows", model="overlap")
    assert list(rankings(tmp_path / "rows")) == list(rankings(tmp_path / "lines"))


def test_a_bad_row_ends_the_run(tmp_path: Path) -> None:
    """The error names the file and the line, and nothing of the block is left in the output."""
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(QUERIES[0]) + "\n" + json.dumps({"query": 1}) + "\n")
    with pytest.raises(Exception, match=r"in\.jsonl, line at byte \d+: .query. must be a string"):
        rerank_dataset(path, tmp_path / "out", model="overlap")
    assert list((tmp_path / "out").glob("block-*.jsonl")) == []

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
from secondpass.errors import ConfigurationError, InputError
from secondpass.models import bundled_models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray leaves sockets and files to its processes
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


def test_a_bad_row_ends_the_run_or_is_skipped(tmp_path: Path) -> None:
    """The error names the file's line; under ``"skip"`` the others are reranked, and the errors are in a file."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out"
    path.write_text(json.dumps(QUERIES[0]) + "\n\n" + json.dumps({"query": 1}) + "\n{\n" + json.dumps(QUERIES[1]))
    with pytest.raises(InputError, match=r"in\.jsonl, line 3: .query. must be a string"):
        rerank_dataset(path, output, model="overlap")
    assert list(output.glob("block-*.jsonl")) == []
    with pytest.raises(ConfigurationError, match="lacks 1 of the run's 1 blocks"):
        rankings(output)
    summary = rerank_dataset(path, output, model="overlap", on_error="skip")
    assert (summary.queries, summary.skipped) == (2, 2)
    assert [row["id"] for row in rankings(output)] == ["q0", "q1"]
    errors = [json.loads(line) for line in (output / "errors-0000000.jsonl").read_text().splitlines()]
    assert [error["where"] for error in errors] == [f"{path}, line 3", f"{path}, line 4"]
    with pytest.raises(InputError, match="an earlier run skipped"):
        rerank_dataset(path, output, model="overlap")


def test_an_incomplete_run_has_no_rankings(source: Path, tmp_path: Path) -> None:
    """A folder without a run, and one that lacks a block, are errors before the first ranking."""
    with pytest.raises(ConfigurationError, match="must be the output of rerank_dataset"):
        rankings(tmp_path)
    output = tmp_path / "out"
    rerank_dataset(source, output, model="overlap", block_bytes=4000)
    (output / "block-0000001.jsonl").unlink()
    with pytest.raises(ConfigurationError, match="such as block-0000001"):
        rankings(output)


def test_another_model_under_the_same_name_is_refused(source: Path, tmp_path: Path) -> None:
    """A run continues by the model that it was begun by, also where nothing is left to do."""
    import shutil

    folder, output = tmp_path / "model", tmp_path / "out"
    shutil.copytree(bundled_models()["nano"], folder)
    rerank_dataset(source, output, model=str(folder), block_bytes=4000)
    shutil.rmtree(folder)
    shutil.copytree(bundled_models()["small"], folder)
    with pytest.raises(ConfigurationError, match="a run with other model"):
        rerank_dataset(source, output, model=str(folder), block_bytes=4000)


def test_a_model_that_cannot_be_loaded_is_our_error(source: Path, tmp_path: Path) -> None:
    """What an actor can't load is a configuration error of ours, not Ray's."""
    with pytest.raises(ConfigurationError, match="no/such"):
        rerank_dataset(source, tmp_path / "out", model="no/such")

"""Blocks of input files: every row is in exactly one, whatever their size."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secondpass.cluster.blocks import blocks_of, check_manifest, digest, input_files
from secondpass.errors import ConfigurationError, InputError


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(max_size=30), max_size=12), size=st.integers(1, 80), end=st.sampled_from(["", "\n", "\n\n"])
)
def test_every_line_is_in_one_block(tmp_path: Path, texts: list[str], size: int, end: str) -> None:
    """Blocks are cut by bytes, through lines and characters, and together give the lines in order."""
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"query": text}, ensure_ascii=len(text) % 2 == 0) for text in texts]
    path.write_bytes(("\n".join(lines) + end).encode("utf-8", "surrogatepass"))
    rows = [(where, row) for block in blocks_of([path], size) for where, row in block.rows()]
    assert [row["query"] for _, row in rows if isinstance(row, dict)] == texts
    assert [where for where, _ in rows] == [f"{path}, line {number}" for number in range(1, len(texts) + 1)]


def test_row_groups_are_blocks(tmp_path: Path) -> None:
    """A Parquet file is read by row group; files follow each other in their folder's order."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"query": [str(number) for number in range(10)]})
    parquet.write_table(table, tmp_path / "b.parquet", row_group_size=4)
    (tmp_path / "a.jsonl").write_text('{"query": "first"}\n')
    blocks = list(blocks_of(input_files(tmp_path), 1000))
    assert [len(list(block.rows())) for block in blocks] == [1, 4, 4, 2]
    assert [where for where, _ in blocks[3].rows()][1].endswith("b.parquet, row 2 of row group 3")
    assert [block.name for block in blocks] == [f"block-000000{number}.jsonl" for number in range(4)]


def test_wrong_inputs_raise(tmp_path: Path) -> None:
    """No file, another kind of file, and a line that is no object."""
    for source in (tmp_path, tmp_path / "missing.jsonl", [], __file__):
        with pytest.raises(ConfigurationError, match="source must be"):
            input_files(source)
    path = tmp_path / "in.jsonl"
    path.write_text("{}\n[1]\n")
    (block,) = blocks_of([path], 100)
    ((_, row), (_, error)) = block.rows()
    assert row == {}
    assert isinstance(error, InputError)
    assert str(error).endswith("in.jsonl, line 2 must be a JSON object, got [1]")


def test_another_plan_is_refused(tmp_path: Path) -> None:
    """A folder's output continues only by the plan that it was begun by; a changed input is another plan."""
    path = tmp_path / "in.jsonl"
    path.write_text('{"query": "a"}\n')
    plan = {"model": "nano", "blocks": digest(list(blocks_of([path], 100)))}
    check_manifest(tmp_path / "manifest.json", plan)
    check_manifest(tmp_path / "manifest.json", plan)
    path.write_text('{"query": "b"}\n{"query": "c"}\n')
    changed = {"model": "small", "blocks": digest(list(blocks_of([path], 100)))}
    with pytest.raises(ConfigurationError, match="other blocks, model"):
        check_manifest(tmp_path / "manifest.json", changed)

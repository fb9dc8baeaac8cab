"""JSON Lines: what ends a line, what is left out, and errors with file and line."""

from pathlib import Path

import pytest

from secondpass.errors import InputError
from secondpass.jsonl import read_object, read_objects


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    """A byte order mark and blank lines are left out; Unicode's other line separators stay within their text."""
    path = tmp_path / "in.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y\x85z"}\r\n\n  \n{"a": 2}'.encode())
    assert list(read_objects(path)) == [(f"{path}, line 1", {"a": "x\u2028y\x85z"}), (f"{path}, line 4", {"a": 2})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "must be JSON in UTF-8"),
        (b'{"a": "\xe9"}', "must be JSON in UTF-8: .*0xe9"),
        (b"[" * 100_000, "must be JSON in UTF-8"),
        (b"[1]", r"must be a JSON object, got \[1\]"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    """The error of a file names it and the line; objects before it are yielded."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n" + line)
    objects = read_objects(path)
    assert next(objects)[1] == {}
    with pytest.raises(InputError, match=f"in.jsonl, line 2 {message}"):
        next(objects)
    with pytest.raises(InputError, match=f"the line {message}"):
        read_object(line)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A missing file and a folder are errors of the input."""
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(InputError, match="must be a file of JSON Lines"):
            list(read_objects(path))

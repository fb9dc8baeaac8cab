"""Input files cut into blocks, and the plan that a run is continued by."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from secondpass.errors import ConfigurationError, InputError
from secondpass.jsonl import read_object

_READ = 2**20
_LINES = {".jsonl", ".ndjson", ".json"}


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an input file: lines that begin within a range of bytes, or a row group.

    :param name: The block's name, and that of its output.
    :param path: The file.
    :param start: The range's first byte, or the row group's number.
    :param end: The byte after the range, or the number after the row group's.
    """

    name: str
    path: str
    start: int
    end: int

    def rows(self) -> Iterator[tuple[str, dict[str, Any] | InputError]]:
        """Yield the rows, one after the other, each with its place; an error for a line that isn't an object."""
        if Path(self.path).suffix == ".parquet":
            from pyarrow import parquet

            with parquet.ParquetFile(self.path) as file:
                batches = file.iter_batches(64, row_groups=range(self.start, self.end))
                rows = (row for batch in batches for row in batch.to_pylist())
                for number, row in enumerate(rows, start=1):
                    yield f"{self.path}, row {number} of row group {self.start + 1}", row
        else:
            yield from self._lines()

    def _lines(self) -> Iterator[tuple[str, dict[str, Any] | InputError]]:
        with open(self.path, "rb") as file:  # noqa: PTH123
            number = 1
            for start in range(0, self.start, _READ):  # the lines before, to name this block's by their numbers
                number += file.read(min(_READ, self.start - start)).count(b"\n")
            if self.start:
                file.seek(self.start - 1)
                number += not file.readline().startswith(b"\n")  # of a line that begins before, the rest
            while file.tell() < self.end and (line := file.readline()):
                if line.strip():
                    try:
                        yield (where := f"{self.path}, line {number}"), read_object(line, where)
                    except InputError as error:
                        yield where, error
                number += 1


def input_files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the input files, sorted within each folder.

    :raises ConfigurationError: If there is none, or one of another kind is named.
    """
    named = [Path(item).absolute() for item in ([source] if isinstance(source, str | Path) else source)]
    kinds = {*_LINES, ".parquet"}
    files: list[Path] = []
    for path in named:
        files += sorted(p for p in path.iterdir() if p.suffix in kinds) if path.is_dir() else [path]
    wrong = [path for path in files if path.suffix not in kinds or not path.is_file()]
    if wrong or not files:
        found = wrong[0] if wrong else named
        raise ConfigurationError(f"source must be files or folders of {', '.join(sorted(kinds))}, got {found!s:.200}")
    return files


def blocks_of(files: Iterable[Path], block_bytes: int) -> Iterator[Block]:
    """Yield the blocks of files, numbered in their order."""
    number = 0
    for path in files:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            size, step = parquet.read_metadata(path).num_row_groups, 1
        else:
            size, step = path.stat().st_size, block_bytes
        for start in range(0, size, step):
            yield Block(block_name(number), str(path), start, min(size, start + step))
            number += 1


def block_name(number: int) -> str:
    """Return the name of a block's output."""
    return f"block-{number:07d}.jsonl"


def digest(blocks: Sequence[Block]) -> str:
    """Return what names the input: its files with their sizes and times, and how they are cut."""
    paths = sorted({block.path for block in blocks})
    files = [(path, Path(path).stat().st_size, Path(path).stat().st_mtime_ns) for path in paths]
    return sha256(json.dumps([[asdict(block) for block in blocks], files]).encode()).hexdigest()


def check_manifest(path: Path, plan: Mapping[str, Any]) -> None:
    """Write the plan of a new run, or compare it with that of the run that is continued.

    :raises ConfigurationError: If they differ.
    """
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(name for name in {*plan, *earlier} if plan.get(name) != earlier.get(name))
    if changed:
        raise ConfigurationError(
            f"{path.parent} holds the output of a run with other {', '.join(changed)}: give another folder"
        )

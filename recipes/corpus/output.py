"""Writes the groups and the manifest."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.corpus import manifest
from recipes.corpus.records import Group, Passage

FORMAT = 1


def write(
    out: Path,
    written: Mapping[str, Sequence[Group]],
    sources: Sequence[dict[str, object]],
    pool: Sequence[Passage],
    settings: Mapping[str, object],
) -> None:
    """Write NAME.jsonl for each part, and manifest.json last: a folder without it is incomplete."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)  # an earlier run's must not vouch for these files
    for name, rows in written.items():
        lines = (json.dumps(row.as_json(), ensure_ascii=False) for row in rows)
        (out / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    record = {
        "format": FORMAT,
        **settings,
        "libraries": manifest.libraries(),
        "passages in the pool": dict(sorted(Counter(passage.source for passage in pool).items())),
        **{name: manifest.counts(rows) for name, rows in written.items()},
        "files": [manifest.file_record(out / f"{name}.jsonl", out) for name in written],
        "sources": list(sources),
    }
    (out / "manifest.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""Keeps what was cut out of a source, so that another run need not parse its pages again."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from recipes.corpus.records import Kind, Passage

_MODULES = ("catalogue", "debian", "dictionaries", "games", "markup", "passages", "wordnet")
_CODE = "".join((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES)


def kept(cache: Path, key: object, make: Callable[[], Iterable[Passage]]) -> list[Passage]:
    """Return the passages from the cache, or make them and put them there.

    :param key: Everything that decides the outcome, besides the code that cuts, which is taken into account anyway.
    """
    name = hashlib.sha256(f"{key!r}\n{_CODE}".encode()).hexdigest()[:24]
    path = cache / "passages" / f"{name}.jsonl"
    if path.is_file():
        return [_read(line) for line in path.read_text(encoding="utf-8").splitlines()]
    passages = list(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps({**asdict(p), 'kind': p.kind.value})}\n" for p in passages)
    partial = path.with_suffix(".part")  # a run that is killed must not leave half of a source behind
    partial.write_text(lines, encoding="utf-8")
    partial.replace(path)
    return passages


def _read(line: str) -> Passage:
    row = json.loads(line)
    return Passage(**{**row, "kind": Kind(row["kind"]), "siblings": tuple(row["siblings"])})

"""The record of what went into the data: sources, licences, checksums, settings and counts."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from recipes.corpus.packages import Deb
from recipes.corpus.records import Group

_LIBRARIES = ("bm25s", "PyStemmer", "beautifulsoup4", "numpy", "onnxruntime", "tokenizers", "sentencex")


def file_record(path: Path, root: Path) -> dict[str, str]:
    """Return a file's name under its root, and its sha256."""
    with path.open("rb") as stream:
        return {"file": path.relative_to(root).as_posix(), "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def deb_record(deb: Deb, licence: str, passages: int) -> dict[str, object]:
    """Return what a package is and under which licence its text stands."""
    return {
        "package": deb.name,
        "version": deb.version,
        "archive": "Debian, main",
        "section": deb.section,
        "sha256": deb.sha256,
        "licence": licence,
        "declared in debian/copyright": deb.licences(),
        "passages": passages,
    }


def counts(groups: Sequence[Group]) -> dict[str, object]:
    """Return how many groups, pairs and labelled groups there are, by source."""
    return {
        "groups": len(groups),
        "pairs": sum(len(group.texts) for group in groups),
        "labelled groups": sum(bool(group.labels) for group in groups),
        "groups by source": dict(sorted(Counter(group.source for group in groups).items())),
    }


def libraries(names: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that shaped the data."""
    return {name: version(name) for name in names}

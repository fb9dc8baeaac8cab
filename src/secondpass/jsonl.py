"""JSON Lines: objects, one a line, and requests among them, a query with its candidates."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secondpass.errors import InputError
from secondpass.records import Candidate

_KINDS: dict[str, Any] = {
    "text": str,
    "id": str | int,
    "score": int | float,
    "rank": int,
    "signals": dict,
    "source": str,
    "prompt_text": str,
}
"""The keys of a candidate, each with the types that its value may have."""


def read_objects(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a file with its place, such as ``questions.jsonl, line 3``.

    Only a line feed ends a line, since JSON may hold Unicode's other line separators. Blank lines are skipped.

    :param path: A file in UTF-8, with or without a byte order mark.
    :raises InputError: If it can't be opened, or a line isn't an object.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, read_object(line, where)
    except OSError as error:
        raise InputError(f"{path} must be a file of JSON Lines: {error}") from error


def read_object(line: bytes, where: str = "the line") -> dict[str, Any]:
    """Return the object of a line.

    :param line: The line, with or without its end.
    :param where: Its place, for the error.
    :raises InputError: If it isn't an object in UTF-8, or a number in it isn't finite.
    """
    try:
        content = json.loads(line.decode("utf-8-sig"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} must be JSON in UTF-8: {error!s:.200}") from error
    if isinstance(content, dict):
        return content
    raise InputError(f"{where} must be a JSON object, got {content!r:.80}")


def _finite(number: str) -> float:
    """Return a number; Python reads NaN, Infinity and 1e999, and would write what other JSON readers refuse.

    :raises ValueError: If it isn't finite.
    """
    if not math.isfinite(value := float(number)):
        raise ValueError(f"numbers must be finite, got {number}")
    return value


def query_and_candidates(content: Mapping[str, Any]) -> tuple[str, list[Candidate]]:
    """Return the query and the candidates of an object.

    :raises InputError: If it has none, or they are of the wrong form.
    """
    query, candidates = content.get("query"), content.get("candidates")
    if not isinstance(query, str):
        raise InputError(f'"query" must be a string, got {query!r:.80}')
    if not isinstance(candidates, list):
        raise InputError(f'"candidates" must be a list of texts or objects, got {candidates!r:.80}')
    return query, [_candidate(position, item) for position, item in enumerate(candidates)]


def _candidate(position: int, item: object) -> Candidate:
    if isinstance(item, str):
        return Candidate(item)
    if not isinstance(item, dict) or "text" not in item:
        raise InputError(f'candidate {position} must be a text or an object with "text", got {item!r:.80}')
    unknown = [name for name in item if name not in _KINDS]
    if unknown:  # a misspelt name would be lost without a word
        raise InputError(f"candidate {position} has {unknown[0]!r}, which isn't one of {', '.join(_KINDS)}")
    values = {name: value for name, value in item.items() if value is not None or name == "text"}
    for name, value in values.items():
        _check(f"{name!r} of candidate {position}", value, _KINDS[name])
    for name, value in values.get("signals", {}).items():
        _check(f"signal {name!r} of candidate {position}", value, int | float | None)
    if "id" in values:
        values["id"] = str(values["id"])
    return Candidate(**values)


def _check(name: str, value: object, kind: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InputError(f"{name} must be {getattr(kind, '__name__', kind)}, got {value!r:.80}")

"""Requests as plain data: a query with its candidates, as a line of JSON Lines or a row of a data set."""

import json
from collections.abc import Mapping
from typing import Any

from secondpass.candidates import Candidate
from secondpass.errors import InputError

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


def read_object(line: bytes) -> dict[str, Any]:
    """Return the object of a line.

    :raises InputError: If it has none.
    """
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"the line must be JSON in UTF-8: {error!s:.200}") from error
    if isinstance(content, dict):
        return content
    raise InputError(f'the line must be an object with a string "query", got {content!r:.80}')


def query_and_candidates(content: Mapping[str, Any]) -> tuple[str, list[Candidate]]:
    """Return the query and the candidates of an object.

    :raises InputError: If it has none, or they are of the wrong form.
    """
    query, candidates = content.get("query"), content.get("candidates")
    if not isinstance(query, str):
        raise InputError(f'the line must be an object with a string "query", got {query!r:.80}')
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

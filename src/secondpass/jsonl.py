"""Reranking JSON Lines: a question with its candidates on each line, and a ranking for each, one at a time."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from secondpass.candidates import Candidate
from secondpass.errors import InputError, ScoringError
from secondpass.reranker import Reranker

_NUMBER = (int, float)
_KEYS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "id": (str, int),
    "score": _NUMBER,
    "rank": (int,),
    "signals": (dict,),
    "source": (str,),
    "prompt_text": (str,),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the output.

    :param content: A ranking as plain data, or ``{"line": n, "error": "..."}``.
    :param failed: Whether it is the latter.
    """

    content: dict[str, Any]
    failed: bool

    def encode(self) -> bytes:
        """Return the line as UTF-8, its end included; lone surrogates stay the escapes that they came as."""
        return json.dumps(self.content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def rerank_lines(lines: Iterable[bytes], reranker: Reranker) -> Iterator[Line]:
    """Rerank line by line; a line that can't be read becomes an error that names its number, and the rest goes on.

    :param lines: Each an object with ``query`` and ``candidates``; blank lines are skipped.
    :param reranker: What ranks them.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            query, candidates = parse_line(line)
            yield Line(reranker.rerank(query, candidates).to_dict(), failed=False)
        except (InputError, ScoringError) as error:
            yield Line({"line": number, "error": str(error)}, failed=True)


def parse_line(line: bytes) -> tuple[str, list[Candidate]]:
    """Read one line.

    :raises InputError: If it isn't an object with a question and its candidates.
    """
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"the line must be JSON in UTF-8: {error!s:.200}") from error
    if not isinstance(content, dict) or not isinstance(content.get("query"), str):
        raise InputError(f'the line must be an object with a string "query", got {content!r:.80}')
    candidates = content.get("candidates")
    if not isinstance(candidates, list):
        raise InputError(f'"candidates" must be a list of texts or objects, got {candidates!r:.80}')
    return content["query"], [_candidate(position, item) for position, item in enumerate(candidates)]


def _candidate(position: int, item: object) -> Candidate:
    if isinstance(item, str):
        return Candidate(item)
    if not isinstance(item, dict) or "text" not in item:
        raise InputError(f'candidate {position} must be a text or an object with "text", got {item!r:.80}')
    for name, value in item.items():
        _check(position, name, value)
    signals = item.get("signals") or {}
    for name, value in signals.items():
        if isinstance(value, bool) or not isinstance(value, (*_NUMBER, type(None))):
            raise InputError(f"signal {name!r} of candidate {position} must be a number, got {value!r:.80}")
    given = {name: value for name, value in item.items() if value is not None} | {"signals": signals}
    if "id" in given:
        given["id"] = str(given["id"])
    try:
        return Candidate(**given)
    except OverflowError as error:  # JSON's whole numbers have no limit, and floats do
        raise InputError(f"candidate {position} has a number that is too large: {error}") from error


def _check(position: int, name: str, value: object) -> None:
    """Refuse what isn't a candidate's: a misspelt name would otherwise be lost without a word."""
    known = _KEYS.get(name)
    if known is None:
        raise InputError(f"candidate {position} has {name!r}, which isn't one of {', '.join(_KEYS)}")
    if value is None and name != "text":
        return
    if isinstance(value, bool) or not isinstance(value, known):
        kinds = " or ".join(kind.__name__ for kind in known)
        raise InputError(f"{name!r} of candidate {position} must be {kinds}, got {value!r:.80}")

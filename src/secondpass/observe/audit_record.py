"""One call as a record of plain data."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from secondpass.observers import CallInfo
from secondpass.ranking import Cause, Dropped, Kept, Ranked, Ranking
from secondpass.records import Stage

_FACTS = {"model", "engine", "device", "dtype", "answered_by", "policy", "counter"}
"""The stages' facts in words that a record has; others may hold messages of other libraries."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a record may hold of the callers' texts.

    :param queries: The query; without it, its hash.
    :param texts: The candidates' texts, and the messages of errors.
    """

    queries: bool = True
    texts: bool = False


def hashed(text: str) -> str:
    """Return a text's hash, 16 hexadecimal digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def call_record(ranking: Ranking, call: CallInfo | None, now: float, contents: Contents) -> dict[str, Any]:
    """Return the record of a call that returned a ranking.

    :param ranking: The ranking.
    :param call: Its time and settings, where they are known.
    :param now: The time at which it was returned, in seconds since 1970.
    :param contents: What the record may hold.
    """
    degraded = ranking.degraded
    shows = contents.texts or (degraded is not None and degraded.cause is not Cause.SCORER_FAILED)
    return {
        **_head(ranking.query, call, now, contents),
        "model": ranking.by.name if ranking.by else call and call.scorer,
        "fingerprint": ranking.by and hashed(ranking.by.fingerprint),
        "degraded": degraded and {"cause": str(degraded.cause), "detail": degraded.detail if shows else ""},
        "notes": [note.to_dict() for note in ranking.notes],
        "tokens": ranking.tokens,
        "stages": [_stage(stage) for stage in ranking.stages],
        "kept": len(ranking.kept),
        "candidates": [_candidate(item, contents) for item in (*ranking.kept, *ranking.dropped)],
    }


def failure_record(error: BaseException, call: CallInfo, contents: Contents) -> dict[str, Any]:
    """Return the record of a call that raised."""
    message = {"message": str(error)[:500]} if contents.texts else {}
    return {
        **_head(call.query, call, call.started + call.seconds, contents),
        "model": call.scorer,
        "error": {"kind": type(error).__name__, **message},
    }


def _head(query: str, call: CallInfo | None, now: float, contents: Contents) -> dict[str, Any]:
    asked = {"query": query} if contents.queries else {"query_hash": hashed(query)}
    return {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "seconds": call and round(call.seconds, 6),
        **asked,
        "settings": call.settings if call else {},
    }


def _candidate(item: Ranked, contents: Contents) -> dict[str, Any]:
    candidate = item.candidate
    entry = {
        "id": candidate.id,
        "text_hash": None if candidate.id else hashed(candidate.text),
        "source": candidate.source,
        "rank_before": item.rank_before,
        "first_stage_score": candidate.score,
        "score": item.score,
        "probability": item.probability,
        "fused": item.fused,
        "truncated": item.truncated or None,
        "text": candidate.text if contents.texts else None,
    }
    if isinstance(item, Kept):
        entry |= {"rank": item.rank, "tokens": item.tokens, "cut": item.cut or None}
    if isinstance(item, Dropped):
        entry |= {"reason": str(item.reason), "detail": item.detail or None}
        if item.because_of is not None:
            entry["because_of"] = item.because_of.id or hashed(item.because_of.text)
    return {name: value for name, value in entry.items() if value is not None}


def _stage(stage: Stage) -> dict[str, Any]:
    facts = {name: fact for name, fact in stage.facts.items() if isinstance(fact, bool | int | float) or name in _FACTS}
    return {"name": stage.name, "seconds": round(stage.seconds, 6), **({"facts": facts} if facts else {})}

"""One call as a record of plain data."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from secondpass.observers import CallEvent
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


def as_record(event: CallEvent, contents: Contents) -> dict[str, Any]:
    """Return the record of a call.

    :param event: The call that has ended.
    :param contents: What the record may hold.
    """
    ended = event.started + event.seconds
    head = {
        "time": datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(event.seconds, 6),
        **({"query": event.query} if contents.queries else {"query_hash": hashed(event.query)}),
        "settings": event.settings,
        "model": event.scorer,
    }
    if isinstance(event.result, Ranking):
        return head | _ranking(event.result, contents)
    message = {"message": str(event.result)[:500]} if contents.texts else {}
    return head | {"error": {"kind": type(event.result).__name__, **message}}


def _ranking(ranking: Ranking, contents: Contents) -> dict[str, Any]:
    degraded = ranking.degraded
    shows = contents.texts or (degraded is not None and degraded.cause is not Cause.SCORER_FAILED)
    return {
        **({"model": ranking.by.name} if ranking.by else {}),
        "fingerprint": ranking.by and hashed(ranking.by.fingerprint),
        "degraded": degraded and {"cause": str(degraded.cause), "detail": degraded.detail if shows else ""},
        "notes": [note.to_dict() for note in ranking.notes],
        "tokens": ranking.tokens,
        "stages": [_stage(stage) for stage in ranking.stages],
        "kept": len(ranking.kept),
        "candidates": [_candidate(item, contents) for item in (*ranking.kept, *ranking.dropped)],
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

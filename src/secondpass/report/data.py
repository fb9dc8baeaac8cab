"""A ranking as plain data, and as a data frame."""

from typing import TYPE_CHECKING, Any

from secondpass.errors import require
from secondpass.ranking import Dropped, Kept, Ranked, Ranking, Reason
from secondpass.records import Score, Stage, Window
from secondpass.text import well_formed

if TYPE_CHECKING:
    from pandas import DataFrame

_COLUMNS = (
    "index", "id", "source", "kept", "rank_before", "rank", "score", "probability", "fused", "first_stage_score",
    "tokens", "cut", "truncated", "reason", "detail", "text",
)  # fmt: skip

_TYPES = {
    **dict.fromkeys(("index", "rank_before", "truncated"), "int64"),
    **dict.fromkeys(("rank", "tokens", "cut"), "Int64"),  # which may be missing
    **dict.fromkeys(("score", "probability", "fused", "first_stage_score"), "float64"),
    "kept": "bool",
}


def as_frame(ranking: Ranking) -> "DataFrame":
    """Return a data frame with a row for each candidate: the kept in reading order, then the dropped.

    :raises MissingExtra: If pandas isn't installed.
    """
    require("Ranking.to_frame", "eval", "pandas")
    import pandas as pd

    data = as_dict(ranking)
    rows = [row | {"kept": name == "kept"} for name in ("kept", "dropped") for row in data[name]]
    rows = [
        {key: well_formed(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
    ]
    frame = pd.DataFrame(rows, columns=[*_COLUMNS])
    return frame.astype(_TYPES)


def as_dict(ranking: Ranking) -> dict[str, Any]:
    """Return plain data for ``json.dumps``, without payloads."""
    indexes = {id(item.candidate): item.index for item in (*reversed(ranking.dropped), *reversed(ranking.kept))}
    return {
        "query": ranking.query,
        "kept": [_kept(item) for item in ranking.kept],
        "dropped": [_dropped(item, indexes) for item in ranking.dropped],
        "tokens": ranking.tokens,
        "stages": [_stage(stage) for stage in ranking.stages],
        "scorer": ranking.by.name if ranking.by else None,
        "answerable": ranking.answerable,
        "rank_of_top_hit": ranking.rank_of_top_hit,
        "degraded": str(ranking.degraded) if ranking.degraded else None,
        "notes": [note.to_dict() for note in ranking.notes],
    }


def _kept(item: Kept) -> dict[str, Any]:
    return _ranked(item) | {
        "text": item.text,
        "spans": [list(span) for span in item.spans],
        "rank": item.rank,
        "tokens": item.tokens,
        "cut": item.cut,
    }


def _dropped(item: Dropped, indexes: dict[int, int]) -> dict[str, Any]:
    original = item.because_of
    index = None if item.reason is Reason.EXCLUDED else indexes.get(id(original))  # an earlier result has none
    return _ranked(item) | {
        "text": item.candidate.text,
        "reason": str(item.reason),
        "detail": item.detail,
        "because_of": original and {"index": index, "id": original.id},
    }


def _ranked(item: Ranked) -> dict[str, Any]:
    return {
        "index": item.index,
        "id": item.candidate.id,
        "source": item.candidate.source,
        "first_stage_score": item.candidate.score,
        "rank_before": item.rank_before,
        "score": item.score,
        "probability": item.probability,
        "fused": item.fused,
        "truncated": item.truncated,
    } | _windows(item)


def _windows(item: Ranked) -> dict[str, Any]:
    """Return the windows of a candidate that was scored in several."""
    if not (item.best_window and isinstance(item.outcome, Score)):
        return {}
    best = _window(item.best_window) | {"text": item.best_text}
    return {"windows": [_window(window) for window in item.outcome.windows], "best_window": best}


def _window(window: Window) -> dict[str, Any]:
    return {"start": window.start, "end": window.end, "score": window.value, "probability": window.probability}


def _stage(stage: Stage) -> dict[str, Any]:
    facts = {
        name: fact if isinstance(fact, str | int | float | bool | None) else str(fact)
        for name, fact in stage.facts.items()
    }
    return {"name": stage.name, "seconds": round(stage.seconds, 6), "facts": facts}

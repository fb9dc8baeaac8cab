"""A ranking as HTML, for notebooks and as a file: no scripts, no external files, every text escaped."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from secondpass.errors import ConfigurationError
from secondpass.ranking import Dropped, Kept, Ranked, Ranking
from secondpass.records import Stage
from secondpass.report.excerpts import one_line, parts
from secondpass.report.slope import slope
from secondpass.report.text import LISTED, as_text, note_lines

if TYPE_CHECKING:
    from jinja2 import Environment

_ROWS, _TEXTS = 30, 20
"""How many kept candidates have a row, and how many a text; the rest is counted."""
_ID, _LINE, _LONG = 60, 240, 1000  # characters of an id, of a text in one line, and of the query
_FACTS = 12  # about a kept candidate
_KINDS = {"up": "moved up", "down": "moved down", "same": "same rank", "dropped": "dropped"}
_SEGMENTS = 60  # of the budget's gauge


def as_html(ranking: Ranking) -> str:
    """Return a fragment for a notebook's output, with its style; the same classes in several outputs don't clash."""
    return _templates().get_template("ranking.html").render(_view(ranking))


def as_document(*rankings: Ranking) -> str:
    """Return a complete document, in which a content security policy forbids scripts and external files as well."""
    title = one_line(rankings[0].query, _LONG)
    return _templates().get_template("document.html").render(title=title, fragments=map(as_html, rankings))


def write(document: str, path: str | os.PathLike[str]) -> None:
    """Write a document; the file appears, or is replaced, when all of it is written.

    :raises OSError: If the file can't be written, with the path that was given.
    """
    path = Path(path)
    if not path.name:
        raise ConfigurationError(f"a report must go to a file, got {str(path)!r}")
    partial = path.with_name(f".secondpass-{uuid4().hex}.partial")
    try:
        partial.write_text(document, "utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        message = f"a report must go to a file in a folder that is there and can be written to: {error.strerror}"
        raise OSError(error.errno, message, str(path)) from error


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader  # loaded when a ranking is shown

    return Environment(loader=PackageLoader("secondpass.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _view(ranking: Ranking) -> dict[str, Any]:
    """Return what the template shows, every text cut to a bounded length and without control characters."""
    by_rank = sorted(ranking.kept, key=lambda item: item.rank)
    everything: list[Ranked] = [*by_rank, *ranking.dropped]
    rows, reasons = by_rank[:_ROWS], Counter(str(item.reason) for item in ranking.dropped).most_common()
    share = _shares(everything)
    in_order = [item.rank for item in ranking.kept] == list(range(1, len(by_rank) + 1))
    places = {} if in_order else {id(item): place for place, item in enumerate(ranking.kept, start=1)}
    first_row = max(len(rows) + (len(by_rank) > len(rows)), 1)
    last_rank = max((item.rank_before for item in everything), default=0)
    picture = slope(rows, ranking.dropped, {name: first_row + i for i, (name, _) in enumerate(reasons)}, last_rank)
    return {
        "query": one_line(ranking.query, _LONG),
        "degraded": ranking.degraded and one_line(str(ranking.degraded), _LONG),
        "text": as_text(ranking, LISTED),
        "count": len(everything),
        "model": ranking.by and one_line(ranking.by.name, _LINE),
        "measure": _measure(everything),
        "kept_count": len(by_rank),
        "answerable": ranking.answerable,
        "notes": note_lines(ranking),
        "kept": [_row(item, item.text, share(item)) | {"rank": item.rank, "tokens": item.tokens} for item in rows],
        "reasons": reasons,
        "slope": picture,
        "kinds": {line.kind: _KINDS[line.kind] for line in reversed(picture.lines)},
        "texts": [_text(item, places) for item in rows[:_TEXTS]],
        "windows": any(item.best_window for item in rows[:_TEXTS]),
        "dropped_count": len(ranking.dropped),
        "dropped": [
            _row(item, item.candidate.reading, share(item)) | {"reason": str(item.reason), "why": _why(item)}
            for item in ranking.dropped[:LISTED]
        ],
        "budget": _budget(ranking),
        "stages": [_stage(stage) for stage in ranking.stages],
        "seconds": sum(stage.seconds for stage in ranking.stages),
    }


def _shares(items: Sequence[Ranked]) -> Callable[[Ranked], float | None]:
    """Return how long a candidate's bar is, from 0 to 1: its probability, or its score between lowest and highest."""
    scores = [item.score for item in items if item.score is not None]
    low, high = min(scores, default=0.0), max(scores, default=0.0)

    def share(item: Ranked) -> float | None:
        if item.probability is not None or item.score is None:
            return item.probability
        return (item.score - low) / (high - low) if high > low else 1.0

    return share


def _measure(items: Sequence[Ranked]) -> str:
    if any(item.probability is not None for item in items):
        return "probability"
    return "score" if any(item.score is not None for item in items) else ""


def _row(item: Ranked, text: str, share: float | None) -> dict[str, Any]:
    return {
        "was": item.rank_before,
        "id": one_line(item.candidate.id or "", _ID),
        "text": one_line(text, _LINE),
        "share": share,
        "probability": item.probability,
        "score": item.score,
    }


def _why(item: Dropped) -> str:
    original = item.because_of
    named = f"{original.id or original.reading[:_LINE]}" if original else ""
    return one_line(", ".join(filter(None, (item.detail, named and f"see {named}"))), _LINE)


def _text(item: Kept, places: Mapping[int, int]) -> dict[str, Any]:
    """Return a kept candidate's text in parts, with what else is known of it."""
    known = {
        "id": item.candidate.id,
        "source": item.candidate.source,
        "place in the context": places.get(id(item)),
        "fused": None if item.fused is None else round(item.fused, 4),
        "tokens cut to fit": item.cut or None,
        "tokens that no model read": item.truncated or None,
    }
    facts: list[tuple[str, object]] = [(name, value) for name, value in known.items() if value is not None]
    facts += [(name, value) for name, value in item.candidate.metadata.items() if _is_short(value)]
    shown = [(one_line(str(name), _ID), one_line(str(value), _LINE)) for name, value in facts[:_FACTS]]
    return {"rank": item.rank, "facts": shown, "parts": parts(item)}


def _is_short(value: object) -> bool:
    """Return whether a metadata value is shown: a text, or a number that isn't of thousands of digits."""
    return isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() <= 64)


def _budget(ranking: Ranking) -> dict[str, Any] | None:
    """Return the budget's gauge: a segment for each kept candidate, in reading order, or one for all where many."""
    limits = [stage.facts["max_tokens"] for stage in ranking.stages if "max_tokens" in stage.facts]
    limit = limits[-1] if limits else None
    if not isinstance(limit, int) or limit < 1 or ranking.tokens is None:
        return None
    counts = [item.tokens or 0 for item in ranking.kept] if len(ranking.kept) <= _SEGMENTS else [ranking.tokens]
    return {"tokens": ranking.tokens, "limit": limit, "segments": [count / limit for count in counts if count]}


def _stage(stage: Stage) -> dict[str, Any]:
    facts = [(one_line(str(name), _ID), one_line(str(fact), _LINE)) for name, fact in stage.facts.items()]
    return {"name": one_line(stage.name, _ID), "seconds": stage.seconds, "facts": facts}

"""Fields of documents: the text that is scored, written from several of them, and signals for fusion."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from secondpass.errors import ConfigurationError, InputError
from secondpass.records import Candidate, as_python
from secondpass.text import template_fields

_OWN = ("text", "id", "source")


def check_score_text(template: str) -> None:
    """Check a template over fields.

    :raises ConfigurationError: If it isn't a format string with at least one field, all of them bare names.
    """
    if not template_fields(template):
        raise ConfigurationError(
            "score_text must be a format string over fields, such as '{title}. {text}': {text}, {id}, {source} and the "
            f"names of metadata, all bare; got {template!r:.80}"
        )


def write_score_texts(candidates: Sequence[Candidate], template: str) -> list[Candidate]:
    """Return the candidates with the filled template as the text that is scored; the LLM reads what it read before.

    A field that a candidate lacks, or that is None, is empty. A candidate that lacks all of them gets an empty text,
    which no scorer reads: it follows the scored ones.

    :param candidates: Their own text is the field ``{text}``.
    :param template: A format string over ``{text}``, ``{id}``, ``{source}`` and the candidates' metadata.
    :raises ConfigurationError: If no candidate has one of the fields.
    """
    names = template_fields(template) or set()
    known = {name for candidate in candidates for name in candidate.metadata}.union(_OWN)
    unknown = sorted(names - known)
    if unknown and candidates:
        raise ConfigurationError(
            f"score_text asks for the field {unknown[0]!r}, and none of {len(candidates)} documents has it; they have "
            f"{sorted(known)}"
        )
    return [write_score_text(candidate, template) for candidate in candidates]


def write_score_text(candidate: Candidate, template: str) -> Candidate:
    """Return one candidate as ``write_score_texts`` does; it may lack any field."""
    names = template_fields(template) or set()
    own = {"text": candidate.text, "id": candidate.id, "source": candidate.source}
    fields = {name: value for name, value in {**candidate.metadata, **own}.items() if value is not None}
    filled = any(str(fields.get(name, "")).strip() for name in names)
    text = template.format_map(defaultdict(str, fields)) if filled else ""
    return replace(candidate, text=text, prompt_text=candidate.reading)


def read_signals(candidates: Iterable[Candidate], keys: Iterable[str]) -> list[Candidate]:
    """Return the candidates with the values of metadata keys as signals.

    Numbers, numbers in strings, dates and ISO 8601 dates in strings (as seconds since 1970) are signals, the higher the
    better. A candidate without the key, or with None or an empty string, has no such signal.

    :raises InputError: If a value is neither.
    """
    keys = tuple(keys)
    return [
        replace(candidate, signals={**candidate.signals, **_signals(candidate, keys)}) if keys else candidate
        for candidate in candidates
    ]


def _signals(candidate: Candidate, keys: Iterable[str]) -> dict[str, float]:
    values = {key: as_python(candidate.metadata.get(key)) for key in keys}
    blank = {key for key, value in values.items() if value is None or (isinstance(value, str) and not value)}
    return {key: _number(candidate, key, value) for key, value in values.items() if key not in blank}


def _number(candidate: Candidate, key: str, value: Any) -> float:
    try:
        return _seconds(value) if isinstance(value, date) else float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return _seconds(datetime.fromisoformat(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"a signal must be a number or an ISO 8601 date, {key!r} of document {candidate.id!r} is {value!r:.60}: "
            "convert it when documents are indexed"
        ) from error


def _seconds(moment: date) -> float:
    """Return a date as seconds since 1970; without a time zone it is UTC's."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

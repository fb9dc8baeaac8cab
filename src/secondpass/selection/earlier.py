"""Earlier results that a selection takes into account, and their context variable, which reaches integrations."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from secondpass.candidates import Candidate
from secondpass.errors import InputError
from secondpass.ranking import Kept, Ranked, Ranking
from secondpass.selection.order import Previous

Results = Ranking | Iterable[Any]
"""A ranking, of which the kept count, or candidates, their records, or texts' ids; in integrations also their items."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier calls kept.

    :param exclude: Candidates, or their ids, that are not to be kept again.
    :param previous: The previous context, which the order ``"stable"`` continues.
    """

    exclude: tuple[Candidate | str, ...] = ()
    previous: Previous = ()

    def results(self) -> dict[str, Any]:
        """Return the arguments of ``Reranker.rerank``."""
        return {"exclude": self.exclude, "previous": self.previous}


def as_earlier(
    exclude: Results = (), previous: Results = (), convert: Callable[[Any], Any] = lambda item: item
) -> Earlier:
    """Return results in any form as a record.

    :param exclude: Results that are not to be kept again: a ranking, or candidates, their records, or ids.
    :param previous: The results of the previous context, in reading order: a ranking, or candidates or their records.
    :param convert: From an integration's document or node to a candidate; other items stay as they are.
    :raises InputError: If an item has another type.
    """
    return Earlier(
        tuple(item if isinstance(item, str) else _entry(item, "exclude")[0] for item in map(convert, _items(exclude))),
        tuple(_entry(item, "previous") for item in map(convert, _items(previous))),
    )


_CALL: ContextVar[tuple[Results, Results]] = ContextVar("secondpass_earlier_results", default=((), ()))


@contextmanager
def earlier_results(*, exclude: Results = (), previous: Results = ()) -> Iterator[None]:
    """Set the earlier results of the calls inside a ``with`` block, for every integration used there.

    It is a context variable: other threads and tasks are not affected. What a call itself is given is stronger.

    :param exclude: Results that are not to be kept again: a ``Ranking``, documents, nodes, candidates, or ids.
    :param previous: The results of the previous prompt, in reading order, for ``order="stable"``.
    """
    token = _CALL.set((_reusable(exclude), _reusable(previous)))
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator that was resumed in another context, which has a value of its own
            _CALL.reset(token)


def earlier_of_call(exclude: Results, previous: Results, convert: Callable[[Any], Any]) -> Earlier:
    """Return the earlier results of an integration's call: those given to it, else those of ``earlier_results``."""
    given = _CALL.get()
    return as_earlier(exclude or given[0], previous or given[1], convert)


def _reusable(results: Results) -> Results:
    return list(results) if isinstance(results, Iterator) else results  # they may count for several calls


def _items(results: Results) -> list[Any]:
    if isinstance(results, str) or not isinstance(results, Iterable):
        raise InputError(f"earlier results must be a Ranking or a list, got {type(results).__name__}: {results!r:.80}")
    return list(results)


def _entry(item: object, name: str) -> tuple[Candidate, str]:
    match item:
        case Kept(candidate=candidate, text=text) | (Candidate() as candidate, str() as text):
            return candidate, text
        case Ranked(candidate=candidate) | (Candidate() as candidate):
            return candidate, candidate.reading
    ids = ", or their ids" if name == "exclude" else ""
    raise InputError(f"{name} must be a Ranking, or a list of candidates{ids}; got {type(item).__name__}: {item!r:.80}")

"""Observers of calls: plain functions of a ranking, and objects that read time, settings and errors too."""

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from secondpass.errors import ConfigurationError
from secondpass.ranking import Ranking
from secondpass.records import changed_fields
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

logger = logging.getLogger("secondpass")


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One call of a reranker that has ended: what came of it, its time and its settings.

    :param query: The query; empty where none was given, or no string.
    :param result: The ranking, or the exception that the call raises, whatever it is.
    :param scorer: The scorer's name.
    :param selection: The call's selection.
    :param reranking: The reranker's settings that decide its results, by name.
    :param started: When the call began, in seconds since 1970; of ``rerank_many`` the scoring of queries together.
    :param seconds: How long it took until the observers were called.
    """

    query: str
    result: Ranking | BaseException
    scorer: str
    selection: Selection
    reranking: Mapping[str, object]
    started: float
    seconds: float

    @classmethod
    def ended(
        cls,
        started: float,
        query: str,
        result: Ranking | BaseException,
        *,
        scorer: str,
        selection: Selection,
        reranking: Mapping[str, object],
    ) -> "CallEvent":
        """Return the event of a call that began at a time of ``time.perf_counter``, and ends now."""
        seconds = time.perf_counter() - started
        return cls(query, result, scorer, selection, reranking, time.time() - seconds, seconds)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as plain data."""
        given = {**changed_fields(self.selection), **self.reranking}
        return {name: _plain(value) for name, value in given.items() if value is not None}


@runtime_checkable
class CallObserver(Protocol):
    """An observer of whole calls, also of those that raise."""

    def observe(self, event: CallEvent) -> None:
        """Observe a call. An exception is logged, and changes nothing."""
        ...


Observer = CallObserver | Callable[[Ranking], object]
"""An object with ``observe``, or a function that is called with each ranking."""


def check_observers(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    """Return the observers.

    :raises ConfigurationError: If they aren't a list of synchronous functions, or of objects with ``observe``.
    """
    if not isinstance(observers, Sequence) or not all(map(_is_observer, observers)):
        raise ConfigurationError(
            f"observers must be a list of functions of a Ranking, not async and no class, got {observers!r:.80}"
        )
    return tuple(observers)


def _is_observer(item: Any) -> bool:
    action = getattr(item, "observe", item)
    if not callable(action) or isinstance(item, type):
        return False
    return not (inspect.iscoroutinefunction(action) or inspect.iscoroutinefunction(type(action).__call__))


def notify(observers: Iterable[Observer], event: CallEvent) -> None:
    """Call the observers with the end of a call; an exception in one is logged and changes nothing."""
    for observer in observers:
        try:
            if isinstance(observer, CallObserver):
                observer.observe(event)
            elif isinstance(event.result, Ranking):
                observer(event.result)
        except Exception:
            logger.exception("an observer of the reranker failed; the call ends as it would without")


def _plain(value: object) -> Any:
    if isinstance(value, ContextBudget):
        return {"max_tokens": value.max_tokens, "counter": value.counting.name}
    return value if isinstance(value, str | int | float | bool) else repr(value)[:200]

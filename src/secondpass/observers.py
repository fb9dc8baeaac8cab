"""Observers of calls: plain functions of a ranking, and those that read time and settings too."""

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from secondpass.errors import ConfigurationError
from secondpass.ranking import Ranking
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

Observer = Callable[[Ranking], None]

logger = logging.getLogger("secondpass")


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Time and settings of one call.

    :param query: The query.
    :param scorer: The scorer's name.
    :param selection: The call's selection.
    :param reranking: The reranker's settings that decide its results, by name.
    :param started: When the call began, in seconds since 1970; of ``rerank_many`` the scoring of queries together.
    :param seconds: How long it took until the observers were called.
    """

    query: str
    scorer: str
    selection: Selection
    reranking: Mapping[str, object]
    started: float
    seconds: float

    @classmethod
    def since(
        cls, started: float, query: str, scorer: str, selection: Selection, reranking: Mapping[str, object]
    ) -> "CallInfo":
        """Return the record of a call that began at a time of ``time.perf_counter``."""
        seconds = time.perf_counter() - started
        return cls(query, scorer, selection, reranking, time.time() - seconds, seconds)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as plain data."""
        given = {**_changed(self.selection), **self.reranking}
        return {name: _plain(value) for name, value in given.items() if value is not None}


class CallObserver:
    """An observer that reads time and settings of a call beside its ranking, and sees calls that raise."""

    def __call__(self, ranking: Ranking) -> None:
        """Observe a ranking of which nothing else is known."""
        self.observe(ranking, None)

    def observe(self, ranking: Ranking, call: CallInfo | None) -> None:
        """Observe a ranking."""
        raise NotImplementedError

    def failed(self, error: BaseException, call: CallInfo) -> None:
        """Observe a call that raised instead of returning a ranking, whatever it raised.

        :param error: The exception, which is raised again.
        :param call: Time and settings; the query is empty where none was given, or no string.
        """


def check_observers(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    """Return the observers.

    :raises ConfigurationError: If they aren't a list of synchronous functions.
    """
    if not isinstance(observers, Sequence) or not all(map(_is_observer, observers)):
        raise ConfigurationError(
            f"observers must be a list of functions of a Ranking, not async and no class, got {observers!r:.80}"
        )
    return tuple(observers)


def _is_observer(item: Any) -> bool:
    if not callable(item) or isinstance(item, type):
        return False
    return not (inspect.iscoroutinefunction(item) or inspect.iscoroutinefunction(type(item).__call__))


def notify(observers: Iterable[Observer], ranking: Ranking, call: CallInfo) -> None:
    """Call the observers with a ranking; an exception in one is logged and changes nothing."""
    for observer in observers:
        _try(
            partial(observer.observe, ranking, call)
            if isinstance(observer, CallObserver)
            else partial(observer, ranking)
        )


def notify_failed(observers: Iterable[Observer], error: BaseException, call: CallInfo) -> None:
    """Call the observers that see failed calls."""
    for observer in observers:
        if isinstance(observer, CallObserver):
            _try(partial(observer.failed, error, call))


def _try(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        logger.exception("an observer of the reranker failed; the ranking is returned unchanged")


def _changed(selection: Selection) -> dict[str, object]:
    values = {field.name: (getattr(selection, field.name), field.default) for field in fields(selection)}
    return {name: value for name, (value, default) in values.items() if value != default}


def _plain(value: object) -> Any:
    if isinstance(value, ContextBudget):
        return {"max_tokens": value.max_tokens, "counter": value.counting.name}
    return value if isinstance(value, str | int | float | bool) else repr(value)[:200]

"""The context budget of one call, as a context variable: it reaches integrations inside of chains and query engines."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import SupportsIndex

from secondpass.logs import REPEATED_WARNINGS
from secondpass.selection.budget import BudgetSource, ContextBudget, as_budget

_CALL: ContextVar[tuple[BudgetSource | None, object]] = ContextVar("secondpass_call_budget", default=(None, None))


@contextmanager
def call_budget(budget: BudgetSource | None = None, *, history: object = None) -> Iterator[None]:
    """Set the context budget of the calls inside a ``with`` block, for every integration used there.

    It is a context variable: other threads and tasks are not affected. Around a ``yield`` in a generator it reaches
    what runs between, and may not reach the next step: call the reranker first.

    :param budget: Tokens, which replace the limit of the integration's own budget; a ``ContextBudget``, which replaces
        all of it; a callable of the query that returns either; or None, which keeps that of an enclosing block, else
        the integration's own.
    :param history: Earlier messages of the chat (strings, messages, a memory), whose tokens the budget is reduced by;
        None keeps that of an enclosing block.
    """
    if isinstance(history, Iterator):  # it may be counted for several calls
        history = list(history)
    outer, earlier = _CALL.get()
    token = _CALL.set((outer if budget is None else budget, earlier if history is None else history))
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator that was resumed in another context, which has a value of its own
            _CALL.reset(token)


def budget_of_call(budget: ContextBudget | None, query: str) -> ContextBudget | None:
    """Return the budget of a call: that of ``call_budget``, else the given one, less the history.

    A number of tokens replaces the limit alone: tokenizer, template and separator stay. A history that exceeds the
    budget leaves 0 tokens, of which the selection warns; without a budget it reduces nothing, which is logged.

    :param budget: The integration's own.
    :param query: The query.
    :raises BudgetError: If a budget or the history is invalid.
    """
    given, history = _CALL.get()
    if callable(given):
        given = given(query)
    if isinstance(given, SupportsIndex) and budget is not None:
        budget = replace(budget, max_tokens=given, origin="")
    elif given is not None:
        budget = as_budget(given, query)
    if history is None or (isinstance(history, list | tuple | str) and not history):  # an object's length may be slow
        return budget
    if budget is None:
        message = "the history has no effect: there is no context budget that it could reduce"
        REPEATED_WARNINGS.warn("history without a budget", message)
        return None
    return budget.less(history=history)


def has_call_budget() -> bool:
    """Return whether a block of ``call_budget`` is active; counting its history can take time."""
    return any(given is not None for given in _CALL.get())

"""The context budget of one call, as a context variable: it reaches integrations inside of chains and query engines."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from secondpass.errors import BudgetError
from secondpass.selection.budget import BudgetSource, ContextBudget, as_budget

_CALL: ContextVar[tuple[BudgetSource | None, object]] = ContextVar("secondpass_call_budget", default=(None, ()))


@contextmanager
def call_budget(budget: BudgetSource | None = None, *, history: object = ()) -> Iterator[None]:
    """Set the context budget of the calls inside a ``with`` block, for every integration used there.

    It is a context variable: other threads and tasks are not affected.

    :param budget: Tokens, a ``ContextBudget``, or a callable of the query; None keeps the integration's own.
    :param history: Earlier messages of the chat (strings, messages, a memory), whose tokens the budget is reduced by.
    """
    token = _CALL.set((budget, history))
    try:
        yield
    finally:
        _CALL.reset(token)


def budget_of_call(budget: ContextBudget | None, query: str) -> ContextBudget | None:
    """Return the budget of a call: that of ``call_budget``, else the given one, less the history.

    :param budget: The integration's own.
    :param query: The query.
    :raises BudgetError: If there is a history and no budget, or nothing is left for the context.
    """
    own, history = _CALL.get()
    budget = budget if own is None else as_budget(own, query)
    if not history:
        return budget
    if budget is None:
        raise BudgetError("history reduces a context budget, and there is none: give budget=... too")
    return budget.less(history=history)

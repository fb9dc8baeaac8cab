"""What one call of an integration overrides: given with the call, or by a ``with`` block around it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, SupportsIndex

from secondpass.logs import REPEATED_WARNINGS
from secondpass.selection.budget import BudgetSource, as_budget
from secondpass.selection.filters import Results
from secondpass.selection.select import Selection

Default = Literal["default"]
"""A setting that isn't set: the setting below it counts. None is a value."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call overrides.

    :param budget: Tokens, which replace the limit of the integration's own budget; a ``ContextBudget``, which replaces
        all of it; a callable of the query that returns either; or None, which keeps it.
    :param top_n: The maximum number of documents; None sets no limit, ``"default"`` keeps the integration's own.
    :param history: Earlier messages of the chat (strings, messages, a memory), whose tokens the budget is reduced by;
        None for none.
    :param exclude: Earlier results that are not to be kept again: a ranking, documents or nodes, or ids.
    """

    budget: BudgetSource | None = None
    top_n: int | Default | None = "default"
    history: object = None
    exclude: Results = ()

    @property
    def counts(self) -> bool:
        """Whether the budget is computed, which can take time."""
        return self.budget is not None or self.history is not None

    def over(self, outer: "CallOptions") -> "CallOptions":
        """Return these options, and those of an enclosing block where these keep something."""
        if outer is NO_OPTIONS or self is NO_OPTIONS:
            return self if outer is NO_OPTIONS else outer
        kept = {item.name: getattr(outer, item.name) for item in fields(self) if _is_kept(self, item.name)}
        return replace(self, **kept)

    def applied_to(self, selection: Selection, query: str) -> Selection:
        """Return a selection with what the options say of it.

        A history that exceeds the budget leaves 0 tokens, of which the selection warns; without a budget it reduces
        nothing, which is logged.

        :param selection: The selection of the integration.
        :param query: The query, for a budget that is a callable.
        :raises BudgetError: If the budget or the history is invalid.
        """
        changes: dict[str, Any] = {} if self.top_n == "default" else {"top_n": self.top_n}
        budget, given = selection.context_budget, self.budget(query) if callable(self.budget) else self.budget
        if isinstance(given, SupportsIndex) and budget is not None:
            budget = replace(budget, max_tokens=given, origin="")
        elif given is not None:
            budget = as_budget(given, query)
        if not _is_empty(self.history):
            if budget is None:
                message = "the history has no effect: there is no context budget that it could reduce"
                REPEATED_WARNINGS.warn("history without a budget", message)
            else:
                budget = budget.less(history=self.history)
        if budget is not selection.context_budget:
            changes["budget"] = budget
        return replace(selection, **changes) if changes else selection


def _is_kept(options: CallOptions, name: str) -> bool:
    return getattr(options, name) == getattr(NO_OPTIONS, name) if name != "history" else options.history is None


def _is_empty(history: object) -> bool:
    return history is None or (
        isinstance(history, list | tuple | str) and not history
    )  # an object's length may be slow


NO_OPTIONS = CallOptions()
_BLOCK: ContextVar[CallOptions] = ContextVar("secondpass_call_options", default=NO_OPTIONS)


@contextmanager
def call_options(
    budget: BudgetSource | None = None,
    *,
    top_n: int | Default | None = "default",
    history: object = None,
    exclude: Results = (),
) -> Iterator[None]:
    """Set the options of the calls inside a ``with`` block, for every integration used there.

    They are a context variable: other threads and tasks are not affected. Around a ``yield`` in a generator they reach
    what runs between, and may not reach the next step: call the reranker first. What a call or an inner block gives
    itself counts before them.

    :param budget: As in ``CallOptions``; so are ``top_n``, ``history`` and ``exclude``.
    """
    history = list(history) if isinstance(history, Iterator) else history  # it may be counted for several calls
    exclude = list(exclude) if isinstance(exclude, Iterator) else exclude
    given = CallOptions(budget, top_n, history, exclude)
    token = _BLOCK.set(given.over(_BLOCK.get()))
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator that was resumed in another context, which has a value of its own
            _BLOCK.reset(token)


def options_of_call(given: CallOptions = NO_OPTIONS) -> CallOptions:
    """Return the options of a call: its own, then those of the blocks around it."""
    return given.over(_BLOCK.get())

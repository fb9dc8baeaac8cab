"""What both doors have in common: the settings that users type, and the reranker behind them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer, model_validator

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError
from secondpass.ranking import Judged, Ranking
from secondpass.reranker import OnError, Reranker
from secondpass.scores import Call
from secondpass.scoring.registry import EngineName, LoadOptions, load_scorer
from secondpass.selection.budget import ContextBudget, as_budget
from secondpass.selection.order import Order
from secondpass.selection.packing import Policy
from secondpass.selection.select import Selection
from secondpass.selection.tokens import ESTIMATE

ENTRY = "secondpass"
"""The one key that a door adds to a metadata, beside the framework's own."""

_SELECTION = {"top_n": "top_k"} | {name: name for name in ("min_probability", "min_keep", "policy", "order")}
_LOADING = ("model", "engine", "device", "dtype", "max_length", "batch_size", "revision", "trust_remote_code")
_RERANKING = ("on_error", "deadline_ms")
_LOCK = threading.Lock()  # held while a door loads its model, so that two first calls don't load it twice


class DoorSettings(BaseModel):
    """The settings of a door: either a ``model`` and what goes with it, or a ``reranker`` that is there already.

    :param model: A folder or a hub id; it is loaded on the first call, or by ``warmup()``.
    :param reranker: A live ``Reranker``, to share one model and one set of settings between doors.
    :param top_n: Keep at most so many; None keeps all that the other settings leave.
    :param budget: The context budget: tokens, a ``ContextBudget``, or a callable of the query, asked for each call.
    :param min_probability: Drop what the model holds for less likely relevant than this.
    :param min_keep: Keep the best so many even below ``min_probability``.
    :param policy: What happens to a candidate that doesn't fit the budget: ``fill``, ``prefix`` or ``truncate``.
    :param order: The reading order: ``relevance``, ``original`` or ``ends``.
    :param engine: ``auto``, ``onnx`` or ``torch``.
    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    :param dtype: ``auto``, ``float32``, ``float16`` or ``bfloat16``.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param batch_size: The ceiling of a batch in pairs; None leaves it to the ceiling in tokens.
    :param revision: A branch, tag or commit of a hub model.
    :param trust_remote_code: Whether Python code that comes with the model may run.
    :param on_error: What a failure while scoring does: ``degrade`` gives the first stage's order, ``raise`` raises.
    :param deadline_ms: Milliseconds that a call may take; None for no limit.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: str | None = None
    reranker: Reranker | None = Field(default=None, exclude=True, repr=False)
    top_n: int | None = Field(default=None, ge=1)
    budget: Any = None  # BudgetSource; pydantic would rebuild the record field by field, and lose the counter
    min_probability: float | None = None
    min_keep: int = 0
    policy: Policy = "fill"
    order: Order = "relevance"
    engine: EngineName = "auto"
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    batch_size: int | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    on_error: OnError = "degrade"
    deadline_ms: float | None = None

    _loaded: Reranker | None = PrivateAttr(default=None)
    _executor: ThreadPoolExecutor | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.model is None) == (self.reranker is None):
            raise ConfigurationError(
                "give either model=... (a folder or a hub id) or reranker=... (a Reranker), and not both"
            )
        idle = sorted(self.model_fields_set & {*_LOADING, *_RERANKING}) if self.reranker else []
        if idle:
            raise ConfigurationError(f"{', '.join(idle)} can't change a reranker that is there already: set it there")
        if isinstance(self.budget, dict):
            self.budget = ContextBudget(**self.budget)
        if not callable(self.budget):
            self._selection("", Selection())  # raises now what would otherwise raise at the first question
        return self

    @field_serializer("budget")
    def _budget_as_data(self, budget: Any) -> Any:
        """Return plain data; ``settings`` refuses the budgets that can't be."""
        if not isinstance(budget, ContextBudget):
            return budget
        names = ("max_tokens", "separator", "template", "origin")
        return {name: getattr(budget, name) for name in names}

    def warmup(self) -> None:
        """Load the model and run it once, so that the first question doesn't wait for it."""
        self.shared_reranker().scorer.warmup()

    def shared_reranker(self) -> Reranker:
        """Return the reranker behind this door, loading its model if nobody has yet.

        :raises ConfigurationError: If the model can't be loaded.
        """
        if self.reranker is not None:
            return self.reranker
        with _LOCK:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as plain data that makes an equal door.

        :raises ConfigurationError: If the door was made from live objects.
        """
        live = self.live_objects()
        if live:
            raise ConfigurationError(
                f"{type(self).__name__} was made from live objects ({', '.join(live)}), which can't be written down: "
                "make it from settings (model=..., budget=tokens), or restore the live objects yourself"
            )
        fields = [name for name, field in type(self).model_fields.items() if not field.exclude]
        given = {name: getattr(self, name) for name in fields if name in self.model_fields_set}
        return given | {"budget": self._budget_as_data(self.budget)} if "budget" in given else given

    def live_objects(self) -> list[str]:
        """Name the settings that are live objects and can't be written down."""
        live = ["reranker"] if self.reranker is not None else []
        if callable(self.budget):
            live.append("budget, a callable")
        if isinstance(self.budget, ContextBudget) and self.budget.counting is not ESTIMATE:
            live.append(f"budget with the token counter {self.budget.counting.name!r}")
        return live

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings alone; the model is loaded again where they arrive."""
        return _restore, (type(self), self.settings())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the settings and share the model: frameworks copy their parts freely, and a model is large."""
        return self.model_copy()

    def _rerank(
        self, query: str, candidates: Sequence[Candidate], call: Call | None = None, top_n: int | None = None
    ) -> Ranking:
        reranker = self.shared_reranker()
        selection = self._selection(query, reranker.selection)
        if top_n is not None:
            selection = replace(selection, top_k=top_n)
        return reranker.rerank(query, candidates, selection=selection, call=call)

    async def _in_thread(self, work: Callable[[Call], Ranking]) -> Ranking:
        """Run the work on the door's own threads; a cancelled task cancels the call, between two batches."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(thread_name_prefix="secondpass-door")
        reranker_deadline = self.reranker.deadline_ms if self.reranker else self.deadline_ms
        call = Call(reranker_deadline)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, copy_context().run, work, call)
        except asyncio.CancelledError:
            call.cancel()
            raise

    def _selection(self, query: str, base: Selection) -> Selection:
        given = self.model_fields_set
        changes = {theirs: getattr(self, ours) for ours, theirs in _SELECTION.items() if ours in given}
        budget = as_budget(self.budget, query)
        return replace(base, **changes) if budget is None else replace(base, **changes, budget=budget)

    def _load(self) -> Reranker:
        options = LoadOptions(batch_size=self.batch_size, trust_remote_code=self.trust_remote_code)
        scorer = load_scorer(
            self.model or "",
            engine=self.engine,
            device=self.device,
            dtype=self.dtype,
            max_length=self.max_length,
            revision=self.revision,
            options=options,
        )
        return Reranker(scorer, on_error=self.on_error, deadline_ms=self.deadline_ms)


def metadata_entry(judged: Judged, rank: int, ranking: Ranking) -> dict[str, Any]:
    """Return the small record that goes into a kept object's metadata: plain numbers and strings, no Nones."""
    entry = {
        "rank": rank,
        "rank_before": judged.rank_before,
        "score": judged.score,
        "probability": judged.probability,
        "first_stage_score": judged.candidate.score,
        "fused": judged.fused,
        "truncated": judged.truncated or None,
        "degraded": str(ranking.degraded) if ranking.degraded else None,
    }
    return {name: value for name, value in entry.items() if value is not None}


def _restore(door: type[DoorSettings], settings: dict[str, Any]) -> DoorSettings:
    return door(**settings)

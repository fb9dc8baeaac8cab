"""Common code of the LangChain and LlamaIndex integrations: settings, input checks, and metadata."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from secondpass.call import check_deadline
from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, InputError, SecondpassError
from secondpass.fields import check_score_text, read_signals, write_score_texts
from secondpass.fusion import Fusion
from secondpass.models import DEFAULT_MODEL
from secondpass.ranking import Kept, Ranking
from secondpass.reranker import Observer, OnError, Reranker
from secondpass.scoring.load import EngineName, LoadOptions
from secondpass.scoring.scorer import Scorer, warm_up
from secondpass.scoring.shared import SHARED_MODELS, LoadKey
from secondpass.selection.budget import ContextBudget, as_budget
from secondpass.selection.call_budget import budget_of_call
from secondpass.selection.order import Order
from secondpass.selection.packing import Policy
from secondpass.selection.select import Selection
from secondpass.selection.tokens import ESTIMATE

T = TypeVar("T")

ENTRY = "secondpass"
"""The metadata key under which an integration writes ranks and scores."""
DEFAULT_TOP_N = 5
"""What is kept where neither ``top_n``, ``budget`` nor ``min_probability`` is set."""

_SELECTION = {"top_n": "top_k"} | {
    name: name for name in ("min_probability", "min_keep", "policy", "duplicates", "order")
}
_LOADING = ("model", "engine", "device", "dtype", "max_length", "revision")
_OPTIONS = ("batch_size", "file", "threads", "label", "trust_remote_code", "local_files_only", "cache_folder")
_RERANKING = ("fusion", "on_error", "deadline_ms", "observers")
_OTHER_NAMES = {
    "top_k": "top_n",
    "score_threshold": "min_probability",
    "threshold": "min_probability",
    "model_name": "model",
    "backend": "engine",
    "scorer": "model",
}


class CheckedModel(BaseModel):
    """A pydantic model whose constructor raises ``ConfigurationError`` instead of pydantic's own error."""

    if not TYPE_CHECKING:  # type checkers then see the fields as parameters

        def __init__(self, **settings: Any) -> None:
            """Raise pydantic's errors as ``ConfigurationError``."""
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise _explained(error, type(self)) from error


class IntegrationSettings(CheckedModel):
    """Settings of an integration: a ``model`` with its loading options, or a ``reranker``.

    :param model: A bundled model's name, a hub id, a folder, or a ``Scorer``; None takes ``small``. It is loaded on the
        first call or by ``warmup()``, once a process for equal settings.
    :param reranker: A ``Reranker``, to share one model and its settings.
    :param top_n: The most documents to keep. Where neither it, ``budget`` nor ``min_probability`` is set, 5; None sets
        no limit.
    :param budget: The context budget: tokens, a ``ContextBudget``, or a callable that is given each call's query.
    :param min_probability: The minimum probability of relevance.
    :param min_keep: How many of the best to keep even below ``min_probability``.
    :param policy: What happens to a candidate that exceeds the budget: ``fill``, ``prefix`` or ``truncate``.
    :param duplicates: ``exact`` drops repeated texts, ``keep`` keeps them.
    :param order: The reading order: ``relevance``, ``original`` or ``ends``.
    :param engine: ``auto``, ``onnx`` or ``torch``.
    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; None is ``auto``.
    :param dtype: ``auto``, ``float32``, ``float16`` or ``bfloat16``.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param revision: A branch, tag or commit of a hub model.
    :param batch_size: The limit of a batch in pairs; None limits it by tokens alone.
    :param file: The ONNX file in the folder or hub repository; see ``LoadOptions``.
    :param threads: CPU threads of a forward pass; see ``LoadOptions``.
    :param label: The output column that means "relevant", where the model's configuration doesn't name it.
    :param trust_remote_code: Whether Python code that comes with the model may run.
    :param local_files_only: Take files from the hub's cache, and never connect to the hub.
    :param cache_folder: The hub's cache; None takes the hub library's own.
    :param fusion: How scores are combined with the first stage's; None orders by the scores alone.
    :param on_error: What happens when scoring fails: ``degrade`` returns the first stage's order, ``raise`` raises.
    :param deadline_ms: Milliseconds until a call returns; None for no limit. Loading the model is not counted.
    :param observers: Called with each ``Ranking``.
    :param score_text: What the model reads of a document: a format string over ``{text}`` and any metadata, such as
        ``"{title}. {text}"``. A field that a document lacks is empty; one that none has is an error.
    :param signal_keys: Metadata keys whose numbers or dates a fusion can weight as signals, higher is better.
    :raises ConfigurationError: If a setting is invalid.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: Any = None
    reranker: Reranker | None = Field(default=None, exclude=True, repr=False)
    top_n: int | None = Field(default=None, ge=1)
    budget: Any = None  # BudgetSource; pydantic would copy the record field by field, and lose the counter
    min_probability: float | None = None
    min_keep: int = 0
    policy: Policy = "fill"
    duplicates: Literal["exact", "keep"] = "exact"
    order: Order = "relevance"
    engine: EngineName = "auto"
    device: str | None = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    revision: str | None = None
    batch_size: int | None = None
    file: str | None = None
    threads: int | None = None
    label: int | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False
    cache_folder: str | None = None
    fusion: Fusion | None = None
    on_error: OnError = "degrade"
    deadline_ms: float | None = None
    observers: Sequence[Observer] = ()
    score_text: str | None = None
    signal_keys: Sequence[str] = ()

    _loaded: tuple[tuple[Any, ...], Reranker] | None = PrivateAttr(default=None)

    @field_validator("model")
    @classmethod
    def _folder_as_text(cls, model: Any) -> Any:
        """Return a folder's path as a string, but never as a bundled model's name."""
        if not isinstance(model, Path):
            return model
        return str(model) if model.is_absolute() else f"./{model}"

    @field_validator("budget")
    @classmethod
    def _budget_from_data(cls, budget: Any) -> Any:
        """Return the budget that ``settings`` wrote as plain data."""
        try:
            return ContextBudget(**budget) if isinstance(budget, dict) else budget
        except TypeError as error:
            raise ValueError("must be tokens, a ContextBudget or a callable") from error

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model is not None and self.reranker is not None:
            raise ConfigurationError("give either model=... or reranker=... (a Reranker), and not both")
        if not (self.model is None or isinstance(self.model, str | Path) or self._scorer_of(self.model)):
            raise ConfigurationError(f"model must be a model's name, a folder or a Scorer, got {self.model!r:.80}")
        live = "reranker" if self.reranker else "model" if self._scorer_of(self.model) else ""
        fixed = {"reranker": {*_LOADING, *_OPTIONS, *_RERANKING}, "model": {*_LOADING[1:], *_OPTIONS}, "": set()}[live]
        idle = sorted(self.model_fields_set & fixed)
        if idle:
            raise ConfigurationError(f"{', '.join(idle)} has no effect together with a loaded {live}: set it there")
        check_deadline(self.deadline_ms)
        if self.score_text is not None:
            check_score_text(self.score_text)
        if not callable(self.budget):
            self._configured("", Selection())
        return self

    @field_serializer("budget")
    def _budget_as_data(self, budget: Any) -> Any:
        """Return plain data; ``settings`` refuses budgets that have no such form."""
        if not isinstance(budget, ContextBudget):
            return budget
        return {name: getattr(budget, name) for name in ("max_tokens", "separator", "template", "origin")}

    def warmup(self) -> None:
        """Load the model and run it once, so that the first query doesn't wait for it."""
        warm_up(self.shared_reranker().scorer)

    def shared_reranker(self) -> Reranker:
        """Return the reranker of this integration, loading its model if necessary.

        :raises ConfigurationError: If the model can't be loaded.
        """
        reranker = self._loaded_reranker()
        if reranker is None:
            scorer = self._scorer_of(self.model) or SHARED_MODELS.get(self._load_key())
            reranker = Reranker(scorer, **{name: getattr(self, name) for name in _RERANKING})
            self._loaded = self._origin(), reranker
        return reranker

    def _loaded_reranker(self) -> Reranker | None:
        """Return the reranker if it is loaded with the present settings, and in this process."""
        if self.reranker is not None:
            return self.reranker
        return self._loaded[1] if self._loaded is not None and self._loaded[0] == self._origin() else None

    def _origin(self) -> tuple[Any, ...]:
        """Return what the reranker is made from; a forked process needs a model of its own."""
        model = self.model if self._scorer_of(self.model) else self._load_key()
        return (os.getpid(), model, *(getattr(self, name) for name in _RERANKING))

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as plain data from which an equal object can be created.

        :raises ConfigurationError: If one of them is a live object.
        """
        live = self.live_objects()
        if live:
            raise ConfigurationError(
                f"{type(self).__name__} has live objects ({', '.join(live)}), which can't be serialised: use settings "
                "instead (model=..., budget=tokens), or restore the live objects yourself"
            )
        fields = [name for name, field_ in type(self).model_fields.items() if not field_.exclude]
        given = {name: getattr(self, name) for name in fields if name in self.model_fields_set}
        if "budget" in given:
            given["budget"] = self._budget_as_data(self.budget)
        return given

    def live_objects(self) -> list[str]:
        """Return the names of settings that are live objects, which can't be serialised."""
        live = [name for name in ("reranker", "fusion") if getattr(self, name) is not None]
        if self._scorer_of(self.model):
            live.append("model, a scorer")
        if self.observers:
            live.append("observers")
        if callable(self.budget):
            live.append("budget, a callable")
        if isinstance(self.budget, ContextBudget) and self.budget.counting is not ESTIMATE:
            live.append(f"budget with the token counter {self.budget.counting.name!r}")
        if isinstance(self.budget, ContextBudget) and callable(self.budget.template):
            live.append("budget with a callable template")
        return live

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings alone; the model is loaded again in the other process."""
        return _restore, (type(self), self.settings())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the settings and share the model: frameworks copy their components, and a model is large."""
        return self.model_copy()

    @property
    def model_name(self) -> str:
        """The model's name for traces."""
        scorer = self.reranker.scorer if self.reranker else self._scorer_of(self.model)
        return scorer.spec.name if scorer else str(self.model or DEFAULT_MODEL)

    def _with_fields(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates, whose text is the documents' own, with the text that is scored and with signals."""
        with_signals = read_signals(candidates, self.signal_keys)
        return write_score_texts(with_signals, self.score_text) if self.score_text is not None else with_signals

    def _rerank(self, query: str, candidates: Sequence[Candidate], top_n: int | None = None) -> Ranking:
        _check_query(query)
        reranker = self.shared_reranker()
        return reranker.rerank(query, candidates, selection=self._selection(query, reranker.selection, top_n))

    async def _arerank(self, query: str, candidates: Sequence[Candidate], top_n: int | None = None) -> Ranking:
        """Return what ``_rerank`` returns; only the scoring counts towards the deadline, as there."""
        _check_query(query)
        reranker = self._loaded_reranker()
        if reranker is None:
            reranker = await asyncio.to_thread(self.shared_reranker)
        if callable(self.budget):
            selection = await asyncio.to_thread(self._selection, query, reranker.selection, top_n)
        else:
            selection = self._selection(query, reranker.selection, top_n)
        return await reranker.arerank(query, candidates, selection=selection)

    def _selection(self, query: str, base: Selection, top_n: int | None = None) -> Selection:
        """Return the selection of one call: the reranker's, changed by the settings and by the call's own budget."""
        selection = self._configured(query, base)
        selection = replace(selection, budget=budget_of_call(selection.budget, query))
        if top_n is not None:
            return replace(selection, top_k=top_n)
        limited = "top_n" in self.model_fields_set or selection.top_k is not None or selection.budget is not None
        if limited:
            return selection
        if selection.min_probability is not None:  # which can't limit what has no score
            return replace(selection, max_unscored=DEFAULT_TOP_N)
        return replace(selection, top_k=DEFAULT_TOP_N)

    def _configured(self, query: str, base: Selection) -> Selection:
        given = self.model_fields_set
        changes = {theirs: getattr(self, ours) for ours, theirs in _SELECTION.items() if ours in given}
        if "budget" in given:
            changes["budget"] = as_budget(self.budget, query)
        return replace(base, **changes)

    def _scorer_of(self, model: Any) -> Scorer | None:
        """Return a live model as a scorer, or None for a name or a folder."""
        return model if isinstance(model, Scorer) and not isinstance(model, type) else None

    def _load_key(self) -> "LoadKey":
        loading = {name: getattr(self, name) for name in _LOADING[1:]} | {"device": self.device or "auto"}
        options = LoadOptions(**{name: getattr(self, name) for name in _OPTIONS})
        return LoadKey(self.model or DEFAULT_MODEL, **loading, options=options)


def checked_items(items: Iterable[T], kind: type[T], call: str) -> list[T]:
    """Return documents or nodes as a list.

    :param items: Any iterable.
    :param kind: Their class.
    :param call: The call with its arguments in the right order, for the error.
    :raises InputError: If it is no iterable, or an item has another type.
    """
    if isinstance(items, str) or not isinstance(items, Iterable):
        raise InputError(f"{call} needs a list of {kind.__name__}s, got {type(items).__name__}: {items!r:.80}")
    listed = list(items)
    for position, item in enumerate(listed):
        if not isinstance(item, kind):
            raise InputError(f"{call} needs {kind.__name__}s, got {type(item).__name__} at position {position}")
    return listed


def relevance_score(kept: Kept) -> float | None:
    """Return the score that an integration reports: the probability, or the raw score on a scale that has none.

    A candidate that was not scored (the ranking is then marked as degraded) keeps its first-stage score.
    """
    scores = (kept.probability, kept.score, kept.candidate.score)
    return next((score for score in scores if score is not None), None)


def metadata_entry(kept: Kept, ranking: Ranking) -> dict[str, Any]:
    """Return the record for a kept document's metadata: plain numbers and strings, without None.

    ``duplicates`` holds the source of each dropped copy, else its id, else its position in the input.
    """
    copies = [item for item in ranking.dropped if item.because_of is kept.candidate]
    entry = {
        "rank": kept.rank,
        "rank_before": kept.rank_before,
        "score": kept.score,
        "probability": kept.probability,
        "first_stage_score": kept.candidate.score,
        "fused": kept.fused,
        "truncated": kept.truncated or None,
        "cut": kept.cut or None,
        "duplicates": [item.candidate.source or item.candidate.id or item.index for item in copies] or None,
        "span": list(kept.spans[0]) if kept.cut and kept.spans else None,
        "degraded": str(ranking.degraded) if ranking.degraded else None,
    }
    return {name: value for name, value in entry.items() if value is not None}


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise InputError(f"the query must be a string, got {type(query).__name__}: {query!r:.80}")


def _explained(error: ValidationError, model: type[BaseModel]) -> SecondpassError:
    """Return our own error inside of pydantic's, or a ``ConfigurationError`` with its messages."""
    messages = []
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, SecondpassError):
            return cause
        setting = ".".join(map(str, item["loc"]))
        other = _OTHER_NAMES.get(setting)
        hint = f"; did you mean {other}?" if other in model.model_fields else ""
        messages.append(f"{setting}: {item['msg']}, got {item.get('input')!r:.80}{hint}")
    return ConfigurationError(f"{model.__name__}: {'; '.join(messages)}")


def _restore(integration: type[IntegrationSettings], settings: dict[str, Any]) -> IntegrationSettings:
    return integration(**settings)

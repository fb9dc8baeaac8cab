"""Common code of the LangChain and LlamaIndex integrations: settings, input checks, and metadata."""

import asyncio
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, SupportsIndex, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from secondpass.errors import UNORDERED, ConfigurationError, InputError, SecondpassError, check_list
from secondpass.fields import check_score_text, read_signals, write_score_text, write_score_texts
from secondpass.fusion import Fusion, ReciprocalRank, WeightedSum
from secondpass.models.dialects import is_remote
from secondpass.observers import Observer
from secondpass.ranking import Kept, Ranking, Reason
from secondpass.records import Candidate, Unscored
from secondpass.reranker import Reranker
from secondpass.scoring.named import SHARED_MODELS, LoadKey, StillLoading, WhileLoading
from secondpass.scoring.options import DEFAULT_MODEL, EngineName, LoadOptions
from secondpass.scoring.requests import OnError
from secondpass.scoring.scorer import Scorer, as_scorer, warm_up
from secondpass.scoring.windows import Windowed, Windows
from secondpass.selection.adaptive import Adaptive, CoveredMass, LargestGap
from secondpass.selection.budget import ContextBudget, as_budget
from secondpass.selection.call_budget import budget_of_call, has_call_budget
from secondpass.selection.filters import Results
from secondpass.selection.order import Order
from secondpass.selection.packing import Policy
from secondpass.selection.select import Duplicates, Selection
from secondpass.selection.tokens import ESTIMATE

T = TypeVar("T")

ENTRY = "secondpass"
"""The metadata key under which an integration writes ranks and scores."""
DEFAULT_TOP_N = 5
"""What is kept where neither ``top_n``, ``budget`` nor ``min_probability`` is set."""
RULES: dict[str, Any] = {
    "reciprocal_rank": ReciprocalRank,
    "weighted_sum": WeightedSum,
    "largest_gap": LargestGap,
    "covered_mass": CoveredMass,
}
"""The rules of fusion and of adaptive k that can be written as data, a table with the key ``rule``, by their names."""

Default = Literal["default"]
"""A setting that isn't set: the reranker's own, or without one the default of ``Selection``. None is a value."""
TopN = Annotated[int, Field(ge=1)] | None | Default
"""The most documents to keep; None sets no limit."""

_SELECTION = (
    *("top_n", "min_probability", "min_keep", "adaptive", "policy", "duplicates", "near", "diversity", "order"),
    "max_per_source",
)
_BUDGET_FIELDS = ("max_tokens", "separator", "template", "origin", "prompt_tokens")
_LOADING = ("engine", "device", "dtype", "max_length", "revision")
_OPTIONS = (
    *("batch_size", "file", "threads", "label", "trust_remote_code", "local_files_only", "cache_folder", "sha256"),
    *("max_queued_pairs", "watchdog_seconds"),
)
_OF_A_NAME = (*_LOADING, *_OPTIONS, "while_loading")
_RERANKING = ("fusion", "deadline_ms", "observers")
_OTHER_NAMES = {
    "top_k": "top_n",
    "k": "top_n",
    "score_threshold": "min_probability",
    "threshold": "min_probability",
    "min_score": "min_probability",
    "model_name": "model",
    "backend": "engine",
    "scorer": "model",
    "max_tokens": "budget",
    "counter": "budget=ContextBudget(..., counter=...)",
    "template": "budget=ContextBudget(..., template=...)",
    "separator": "budget=ContextBudget(..., separator=...)",
    "base_compressor": "compressor",
    "reranker": "compressor",
    "base_retriever": "vectorstore",
    "top_n": "k",
}
"""Settings of other rerankers, or of another class of this package, with what is meant; only fields are suggested."""


def _from_table(rule: Any) -> Any:
    """Return the rule that a table with the key ``rule`` states; everything else as it is."""
    if not isinstance(rule, Mapping):
        return rule
    settings = dict(rule)
    name = settings.pop("rule", None)
    if name not in RULES:
        raise ValueError(f"a table needs a rule, one of {', '.join(RULES)}")
    try:
        return RULES[name](**settings)
    except TypeError as error:
        raise ValueError(f"the rule {name} has other settings: {error}") from error


_TABLE = (BeforeValidator(_from_table), WithJsonSchema({"type": ["object", "null"]}))


class CheckedModel(BaseModel):
    """A pydantic model whose constructor raises ``ConfigurationError`` instead of pydantic's own error."""

    if not TYPE_CHECKING:  # type checkers then see the fields as parameters

        def __init__(self, *positional: Any, **settings: Any) -> None:
            """Raise pydantic's errors as ``ConfigurationError``."""
            if positional:
                raise ConfigurationError(
                    f"{type(self).__name__} takes its settings by name, as model=..., got {positional[0]!r:.80} alone"
                )
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise _explained(error, type(self)) from error


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The reranker of an integration, and what it was made from; integrations are equal whether it is loaded or not."""

    origin: tuple[Any, ...] = field(default=(), compare=False)
    reranker: Reranker | None = field(default=None, compare=False)


class IntegrationSettings(CheckedModel):
    """Settings of an integration: a ``model`` with its loading options, or a ``reranker``.

    :param model: A bundled model's name (``small``, ``nano``, or their cascade ``fast``), a hub id, a folder, or a
        ``Scorer``; None takes ``small``. It is loaded on the first call or by ``warmup()``, once a process for equal
        settings.
    :param reranker: A ``Reranker``, to share one model and its settings.
    :param top_n: The most documents to keep; None sets no limit. Where neither it, ``budget`` nor ``min_probability``
        is set, 5. It and the settings to ``order`` are ``"default"`` where they aren't set: the reranker's own then
        count, and without one ``Selection``'s. None is a value, which lifts a limit of the reranker.
    :param budget: The context budget: tokens, a ``ContextBudget``, or a callable that is given each call's query.
    :param min_probability: The minimum probability of relevance.
    :param min_keep: How many of the best to keep even below ``min_probability``.
    :param policy: What happens to a candidate that exceeds the budget: ``fill``, ``prefix`` or ``truncate``; or
        ``extract``, which fills the budget with the best windows of all candidates.
    :param adaptive: How many are relevant by their own scores: ``LargestGap()`` or ``CoveredMass(0.9)``.
    :param duplicates: ``exact`` drops repeated texts, ``near`` also similar ones, ``keep`` keeps them.
    :param near: The similarity of near-duplicates; see ``Selection``.
    :param diversity: The weight of maximal marginal relevance, from 0 to 1; see ``Selection``.
    :param order: The reading order: ``relevance``, ``original`` or ``ends``.
    :param max_per_source: The most documents to keep of one source; None for no limit. Those without a source aren't
        limited.
    :param source_key: The metadata key of a candidate's source, for ``max_per_source`` and ``{source}`` in templates;
        None reads the document's own.
    :param windows: Whether texts that are longer than the model reads are scored in windows, or how, as ``Windows``.
        By default only their beginning is read, as by other libraries: that bounds the cost of a call, and what was
        not read is reported as ``truncated``. ``policy="extract"`` always scores windows. A scorer that states no
        limit, such as a remote one, needs ``Windows(max_tokens=...)``.
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
    :param sha256: The weights' SHA-256; see ``LoadOptions``.
    :param max_queued_pairs: How many pairs may wait for the model; see ``LoadOptions``.
    :param watchdog_seconds: How long one batch may take; see ``LoadOptions``.
    :param fusion: How scores are combined with the first stage's; None orders by the scores alone.
    :param on_error: What happens when scoring fails: ``degrade`` returns the first stage's order, ``raise`` raises.
        None is the reranker's own, and without one ``degrade``.
    :param deadline_ms: Milliseconds until scoring ends; None for no limit. Loading the model isn't counted.
    :param observers: Called with each ``Ranking``.
    :param while_loading: What a call does while a named model is still loading: ``wait``, or ``degrade``, which has it
        loaded in the background, and returns the first stage's order, marked.
    :param score_text: What the model reads of a document: a format string over ``{text}`` and any metadata, such as
        ``"{title}. {text}"``. A field that a document lacks is empty; one that none has is an error.
    :param signal_keys: Metadata keys whose numbers or dates a fusion can weight as signals, higher is better.
    :param add_metadata: Whether to write scores and ranks to the documents' metadata. Stores that take flat metadata
        alone (Chroma) refuse the record, and retrievers that remove equal documents after several reranked queries, as
        ``MultiQueryRetriever`` does, need documents without it.
    :raises ConfigurationError: If a setting is invalid, or has no effect together with another.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: Annotated[Any, WithJsonSchema({"type": ["string", "null"]})] = None
    reranker: SkipJsonSchema[Reranker | None] = Field(default=None, repr=False)
    top_n: TopN = "default"
    # a BudgetSource; pydantic would copy the record field by field, and lose the counter
    budget: Annotated[Any, WithJsonSchema({"type": ["integer", "object", "string", "null"]})] = "default"
    min_probability: float | Default | None = "default"
    min_keep: int | Default = "default"
    policy: Policy | Default = "default"
    adaptive: Annotated[Adaptive | Default | None, *_TABLE] = "default"
    duplicates: Duplicates | Default = "default"
    near: float | Default = "default"
    diversity: float | Default = "default"
    order: Order | Default = "default"
    max_per_source: Annotated[int, Field(ge=1)] | Default | None = "default"
    source_key: str | None = None
    windows: bool | Windows | None = None
    engine: EngineName = "auto"
    device: str = "auto"
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
    sha256: str | None = None
    max_queued_pairs: int = 100_000
    watchdog_seconds: float = 300.0
    fusion: Annotated[Fusion | None, *_TABLE] = None
    on_error: OnError | None = None
    deadline_ms: float | None = None
    observers: SkipJsonSchema[tuple[Observer, ...]] = ()
    while_loading: WhileLoading = "wait"
    score_text: str | None = None
    signal_keys: tuple[str, ...] = ()
    add_metadata: bool = True

    _loaded: _Loaded = PrivateAttr(default_factory=_Loaded)

    @field_validator("model")
    @classmethod
    def _folder_as_text(cls, model: Any) -> Any:
        """Return a folder's path as a string, but never as a bundled model's name."""
        if not isinstance(model, Path):
            return model
        return str(model) if model.is_absolute() else f"./{model}"

    @field_validator("device", mode="before")
    @classmethod
    def _device_as_text(cls, device: Any) -> Any:
        """Return None, as other libraries write it, as ``auto``."""
        return "auto" if device is None else device

    @field_validator("budget")
    @classmethod
    def _budget_from_data(cls, budget: Any) -> Any:
        """Return the budget that ``settings`` wrote as plain data; a class would fail at the first call."""
        try:
            budget = ContextBudget(**budget) if isinstance(budget, dict) else budget
        except TypeError as error:
            raise ValueError("must be tokens, a ContextBudget or a callable") from error
        if isinstance(budget, type):
            raise ConfigurationError(f"budget must be tokens, a ContextBudget or a callable, got {budget!r:.80}")
        whole = isinstance(budget, SupportsIndex) and not isinstance(budget, bool)
        return operator.index(budget) if whole else budget

    @model_validator(mode="after")
    def _check(self) -> Self:
        live = self._scorer_of(self.model)
        if self.model is not None and self.reranker is not None:
            raise ConfigurationError("give either model=... or reranker=... (a Reranker), and not both")
        if not (self.model is None or isinstance(self.model, str | Path) or live):
            raise ConfigurationError(f"model must be a model's name, a folder or a Scorer, got {self.model!r:.80}")
        fixed = (*_OF_A_NAME, *_RERANKING, "on_error", "windows") if self.reranker else _OF_A_NAME if live else ()
        idle = [name for name in self._given() if name in fixed]
        if idle:
            loaded = "reranker" if self.reranker else "model"
            raise ConfigurationError(f"{', '.join(idle)} has no effect together with a loaded {loaded}: set it there")
        if self.score_text is not None:
            check_score_text(self.score_text)
        selection = self._configured(None, self.reranker.selection if self.reranker else Selection())
        if self.reranker or live:
            self.shared_reranker().check(selection)
        else:
            self._load_key().check()
            self._check_windows(selection)
            self._reranker(StillLoading(self.model_name))
        return self

    def _check_windows(self, selection: Selection) -> None:
        """Refuse windows without a size for a remote model, which states no limit; extraction has a size of its own."""
        sized = isinstance(self.windows, Windows) and self.windows.max_tokens is not None
        if self.windows and not sized and is_remote(self.model) and selection.policy != "extract":
            raise ConfigurationError(
                f"windows={self.windows!r} has no effect with the remote model {self.model!r}, whose limit isn't known "
                "here: give windows=Windows(max_tokens=...)"
            )

    @model_serializer(mode="plain")
    def _as_data(self) -> dict[str, Any]:
        """Return the settings in every form of pydantic's."""
        return self.settings()

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Return what ``settings`` returns.

        :param options: Pydantic's.
        :raises ConfigurationError: If there is a live object.
        """
        _refuse(self.live_objects(), self)
        return super().model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        """Return what ``settings`` returns, as JSON.

        :param options: Pydantic's.
        :raises ConfigurationError: If there is a live object.
        """
        _refuse(self.live_objects(), self)
        return super().model_dump_json(**options)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """Return a copy that shares the model; changed settings are checked as the constructor checks them.

        :param update: Settings that the copy has instead.
        :param deep: Has no effect on settings, which are never changed.
        :raises ConfigurationError: If a setting is invalid.
        """
        copy = super().model_copy()
        if update:
            copy = type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | dict(update))
        return copy

    def warmup(self, *, background: bool = False) -> None:
        """Load the model and run it once, so that the first query doesn't wait for it.

        :param background: Return at once, and do it on a thread; ``ready`` says when it is done.
        """
        if not background:
            warm_up(self.shared_reranker().scorer)
        elif self._loads_by_name():
            SHARED_MODELS.warm_up_in_background(self._load_key())
        else:
            self.shared_reranker().warmup(background=True)

    @property
    def ready(self) -> bool:
        """Whether a call finds its model loaded."""
        return not self._loads_by_name() or SHARED_MODELS.ready(self._load_key())

    def _loads_by_name(self) -> bool:
        return self.reranker is None and self._scorer_of(self.model) is None and self._loaded_reranker() is None

    def _reranker_of_call(self) -> Reranker:
        """Return the reranker, or while its model is loading and the call isn't to wait, one that scores nothing."""
        if self.while_loading == "degrade" and not self.ready:
            self.warmup(background=True)
            return self._reranker(StillLoading(self.model_name))
        return self.shared_reranker()

    def _reranker(self, scorer: Scorer) -> Reranker:
        settings = {name: getattr(self, name) for name in _RERANKING}
        return Reranker(scorer, on_error=self.on_error or "degrade", **settings)

    def shared_reranker(self) -> Reranker:
        """Return the reranker of this integration, loading its model if necessary.

        :raises ConfigurationError: If the model can't be loaded.
        """
        reranker = self._loaded_reranker()
        if reranker is None:
            scorer = self._scorer_of(self.model) or SHARED_MODELS.get(self._load_key())
            if self.windows:
                scorer = Windowed(scorer, self.windows if isinstance(self.windows, Windows) else None)
            reranker = self._reranker(scorer)
            self._loaded = _Loaded(self._origin(), reranker)
        return reranker

    def _loaded_reranker(self) -> Reranker | None:
        """Return the reranker if it is loaded with the present settings, and in this process."""
        if self.reranker is not None:
            return self.reranker
        return self._loaded.reranker if self._loaded.origin == self._origin() else None

    def _origin(self) -> tuple[Any, ...]:
        """Return what the reranker is made from; a forked process needs a model of its own."""
        model = self.model if self._scorer_of(self.model) else self._load_key()
        reranking = (getattr(self, name) for name in _RERANKING)
        return (os.getpid(), model, self.windows, self.on_error, *reranking)

    def settings(self) -> dict[str, Any]:
        """Return the settings that aren't their defaults, as plain data from which an equal object can be created.

        :raises ConfigurationError: If one of them is a live object.
        """
        _refuse(self.live_objects(), self)
        return {name: _plain(value) for name, value in self._given().items()}

    def _given(self) -> dict[str, Any]:
        """Return the settings that aren't their defaults, but for those of a framework that hold its own objects."""
        fields = {name: field_ for name, field_ in type(self).model_fields.items() if not field_.exclude}
        values = {name: getattr(self, name) for name in fields}
        return {
            name: value
            for name, value in values.items()
            if value != fields[name].get_default(call_default_factory=True)
        }

    def live_objects(self) -> list[str]:
        """Return the names of settings that are live objects, which can't be serialised."""
        live = ["reranker"] if self.reranker else []
        if self.fusion is not None and type(self.fusion) not in RULES.values():
            live.append("fusion")
        if self._scorer_of(self.model):
            live.append("model, a scorer")
        if self.observers:
            live.append("observers")
        if callable(self.budget):
            live.append("budget, a callable")
        if isinstance(self.budget, ContextBudget) and self.budget.counting != ESTIMATE:
            live.append(f"budget with the token counter {self.budget.counting.name!r}")
        if isinstance(self.budget, ContextBudget) and callable(self.budget.template):
            live.append("budget with a callable template")
        return live

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting that is valid together with the others.

        :raises ConfigurationError: If it isn't; nothing is changed then.
        """
        checked = self.model_copy(update={name: value}) if name in type(self).model_fields else None
        super().__setattr__(name, value if checked is None else getattr(checked, name))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings alone; the model is loaded again in the other process.

        :raises ConfigurationError: If there is a live model.
        """
        _refuse([name for name in self.live_objects() if name.startswith(("reranker", "model"))], self)
        return partial(type(self), **self._given()), ()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the settings and share the model: frameworks copy their components, and a model is large."""
        return self.model_copy()

    @property
    def model_name(self) -> str:
        """The model's name for traces."""
        scorer = self.reranker.scorer if self.reranker else self._scorer_of(self.model)
        return scorer.spec.name if scorer else str(self.model or DEFAULT_MODEL)

    @property
    def most_kept(self) -> int | None:
        """The most documents that a call keeps, for traces; None where only the budget or the threshold limits them."""
        selection = self._configured(None, self.reranker.selection if self.reranker else Selection())
        return selection.top_n if callable(self.budget) else self._limited(selection).top_n

    def _with_fields(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates, whose text is the documents' own, with the text that is scored and with signals."""
        with_signals = read_signals(candidates, self.signal_keys)
        return write_score_texts(with_signals, self.score_text) if self.score_text is not None else with_signals

    def _earlier(self, candidate: Candidate) -> Candidate:
        """Return a candidate of an earlier call, whose text is the document's own, with the text that is scored."""
        return candidate if self.score_text is None else write_score_text(candidate, self.score_text)

    def _rerank(
        self, query: str, candidates: Sequence[Candidate], exclude: Results, top_n: TopN = "default"
    ) -> Ranking:
        _check_query(query)
        reranker = self._reranker_of_call()
        selection = self._selection(query, reranker.selection, top_n)
        return reranker.rerank(query, candidates, selection=selection, exclude=exclude)

    async def _arerank(
        self, query: str, candidates: Sequence[Candidate], exclude: Results, top_n: TopN = "default"
    ) -> Ranking:
        """Return what ``_rerank`` returns; only the scoring counts towards the deadline, as there."""
        _check_query(query)
        reranker = self._loaded_reranker()
        if reranker is None:
            reranker = await asyncio.to_thread(self._reranker_of_call)
        if callable(self.budget) or has_call_budget():
            selection = await asyncio.to_thread(self._selection, query, reranker.selection, top_n)
        else:
            selection = self._selection(query, reranker.selection, top_n)
        return await reranker.arerank(query, candidates, selection=selection, exclude=exclude)

    def _selection(self, query: str, base: Selection, top_n: TopN = "default") -> Selection:
        """Return the selection of one call: the reranker's, changed by the settings and by the call's own budget."""
        selection = self._configured(query, base)
        selection = replace(selection, budget=budget_of_call(selection.budget, query))
        return self._limited(selection) if top_n == "default" else replace(selection, top_n=top_n)

    def _limited(self, selection: Selection) -> Selection:
        """Return the selection with the default limit where nothing else limits it."""
        if self.top_n != "default" or selection.top_n is not None or selection.budget is not None:
            return selection
        if selection.min_probability is not None:  # which can't limit what has no score
            return replace(selection, max_unscored=DEFAULT_TOP_N)
        return replace(selection, top_n=DEFAULT_TOP_N)

    def _configured(self, query: str | None, base: Selection) -> Selection:
        """Return the base changed by the settings; without a query a callable budget is left out."""
        values = {name: getattr(self, name) for name in _SELECTION}
        changes = {name: value for name, value in values.items() if value != "default"}
        if changes.get("duplicates", "near") != "near":
            changes.setdefault("near", Selection().near)  # that of the reranker goes with its own rule
        if self.budget != "default" and not (query is None and callable(self.budget)):
            changes["budget"] = as_budget(self.budget, query or "")
        return replace(base, **changes)

    def _scorer_of(self, model: Any) -> Scorer | None:
        """Return a live model as a scorer, or None for a name or a folder."""
        scorer = as_scorer(model)
        return scorer if isinstance(scorer, Scorer) and not isinstance(scorer, type) else None

    def _load_key(self) -> LoadKey:
        loading = {name: getattr(self, name) for name in _LOADING}
        options = LoadOptions(**{name: getattr(self, name) for name in _OPTIONS})
        return LoadKey(self.model or DEFAULT_MODEL, **loading, options=options)


def checked_items(items: Iterable[T], kind: type[T], call: str) -> list[T]:
    """Return documents or nodes as a list.

    :param items: Any iterable.
    :param kind: Their class.
    :param call: The call with its arguments in the right order, for the error.
    :raises InputError: If it is no iterable, or an item has another type.
    """
    check_list(items, f"{call} needs a list of {kind.__name__}s", (*UNORDERED, kind))
    listed = list(items)
    for position, item in enumerate(listed):
        if not isinstance(item, kind):
            raise InputError(f"{call} needs {kind.__name__}s, got {type(item).__name__} at position {position}")
    return listed


def source_of(values: Iterable[object]) -> str | None:
    """Return the first source that there is, as text."""
    return next((str(value) for value in values if value not in (None, "")), None)


def relevance_score(kept: Kept) -> float | None:
    """Return the score that an integration reports: the probability, or the raw score on a scale that has none.

    A candidate that was not scored (the ranking is then marked as degraded) keeps its first-stage score.
    """
    scores = (kept.probability, kept.score, kept.candidate.score)
    return next((score for score in scores if score is not None), None)


def metadata_entry(kept: Kept, ranking: Ranking) -> dict[str, Any]:
    """Return the record for a kept document's metadata: plain numbers and strings, without None.

    ``duplicates`` holds the id of each dropped copy, else its source, else its position in the input; ``unscored`` says
    why there is no score. ``spans`` are the character ranges of an extract, and ``best_window`` is that of the best
    window, in the text without its header.
    """
    candidate = kept.candidate
    window = kept.best_window
    best = window and candidate.reading_spans([(window.start, window.end)])[0]
    repeated = [item for item in ranking.dropped if item.reason is Reason.DUPLICATE]
    copies = [item for item in repeated if item.because_of is candidate]
    entry = {
        "rank": kept.rank,
        "rank_before": kept.rank_before,
        "score": kept.score,
        "probability": kept.probability,
        "unscored": str(kept.outcome.reason) if isinstance(kept.outcome, Unscored) else None,
        "first_stage_score": kept.candidate.score,
        "fused": kept.fused,
        "truncated": kept.truncated or None,
        "cut": kept.cut or None,
        "duplicates": [item.candidate.id or item.candidate.source or item.index for item in copies] or None,
        "span": list(kept.spans[0]) if kept.cut and not kept.extracted else None,
        "spans": [list(span) for span in kept.body_spans] if kept.extracted else None,
        "best_window": best and [end - candidate.header_length for end in best],
        "answerable": ranking.answerable,
        "degraded": str(ranking.degraded) if ranking.degraded else None,
        "notes": [note.to_dict() for note in ranking.notes] or None,
    }
    return {name: value for name, value in entry.items() if value is not None}


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise InputError(f"the query must be a string, got {type(query).__name__}: {query!r:.80}")


def _explained(error: ValidationError, model: type[BaseModel]) -> SecondpassError:
    """Return our own error inside of pydantic's, or a ``ConfigurationError`` with its messages."""
    problems: dict[str, dict[str, list[str]]] = {}  # messages, by setting and by what came
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, SecondpassError):
            return cause
        place = [str(part) for turn, part in enumerate(item["loc"]) if not turn or isinstance(part, int)]
        setting = ".".join(place) or model.__name__
        other = _meant(setting, model) if item["type"] == "extra_forbidden" else None
        hint = f"; did you mean {other}?" if other else ""
        came = f"got {item.get('input')!r:.80}{hint}"
        problems.setdefault(setting, {}).setdefault(came, []).append(item["msg"])
    messages = [
        f"{setting}: {' or '.join(dict.fromkeys(wanted))}, {came}"
        for setting, found in problems.items()
        for came, wanted in found.items()
    ]
    return ConfigurationError(f"{model.__name__}: {'; '.join(messages)}")


def _plain(value: Any) -> Any:
    """Return a setting as plain data."""
    if isinstance(value, ContextBudget):
        return {name: getattr(value, name) for name in _BUDGET_FIELDS}
    rule = next((name for name, kind in RULES.items() if type(value) is kind), None)
    if rule is not None or isinstance(value, Windows):
        return asdict(value) | ({"rule": rule} if rule else {})
    return value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value


def _refuse(live: Sequence[str], integration: IntegrationSettings) -> None:
    if live:
        raise ConfigurationError(
            f"{type(integration).__name__} has live objects ({', '.join(live)}), which can't be serialised: use "
            "settings instead (model=..., budget=tokens), or restore the live objects yourself"
        )


def _meant(setting: str, model: type[BaseModel]) -> str | None:
    """Return the setting that an unknown one most likely stands for."""
    other = _OTHER_NAMES.get(setting, "")
    if other.partition("=")[0] in model.model_fields:
        return other
    return next(iter(get_close_matches(setting, model.model_fields, 1, 0.8)), None)

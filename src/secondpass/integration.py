"""Common code of the LangChain and LlamaIndex integrations: settings, input checks, and metadata."""

import asyncio
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, SupportsIndex, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
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
from secondpass.ranking import Kept, Ranking, Reason
from secondpass.records import Candidate, Unscored, changed_fields
from secondpass.reranker import Reranker
from secondpass.scoring.named import NamedScorer
from secondpass.scoring.options import DEFAULT_MODEL, LoadOptions
from secondpass.scoring.requests import OnError
from secondpass.scoring.scorer import Scorer, as_scorer, is_loaded
from secondpass.scoring.windows import Windowed, Windows
from secondpass.selection.adaptive import CoveredMass, LargestGap
from secondpass.selection.budget import ContextBudget, as_budget
from secondpass.selection.call_options import CallOptions, Default, options_of_call
from secondpass.selection.filters import as_excluded
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

_SELECTION = ("top_n", "min_probability", "policy", "duplicates", "max_per_source")
_BUDGET_FIELDS = ("max_tokens", "separator", "template", "origin", "prompt_tokens")
_LOADING = ("device", "max_length", "batch_size", "trust_remote_code")
_RERANKING = ("fusion", "windows", "deadline_ms", "observers")
_OTHER_NAMES = {
    "top_k": "top_n",
    "k": "top_n",
    "score_threshold": "min_probability",
    "threshold": "min_probability",
    "min_score": "min_probability",
    "model_name": "model",
    "backend": "options=LoadOptions(engine=...)",
    "scorer": "model",
    "max_tokens": "budget",
    "counter": "budget=ContextBudget(..., counter=...)",
    "template": "budget=ContextBudget(..., template=...)",
    "separator": "budget=ContextBudget(..., separator=...)",
    "base_compressor": "compressor",
    "reranker": "compressor",
    "base_retriever": "vectorstore",
    "top_n": "k",
    **{item.name: f"options=LoadOptions({item.name}=...)" for item in fields(LoadOptions)},
    **{item.name: f"selection=Selection({item.name}=...)" for item in fields(Selection) if item.name != "top_n"},
}
"""Settings of other rerankers, or of another class of this package, with what is meant; only fields are suggested."""


def _as_rule(rule: Any) -> Any:
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


def _as_selection(data: Any) -> Any:
    """Return the selection that ``settings`` wrote as plain data; everything else as it is."""
    if not isinstance(data, Mapping):
        return data
    return Selection(
        **{**data, "budget": _as_budget_record(data.get("budget")), "adaptive": _as_rule(data.get("adaptive"))}
    )


def _as_budget_record(data: Any) -> Any:
    """Return the budget that ``settings`` wrote as plain data; everything else as it is."""
    return ContextBudget(**data) if isinstance(data, Mapping) else data


def _as_options(data: Any) -> Any:
    return LoadOptions(**data) if isinstance(data, Mapping) else data


_OBJECT = WithJsonSchema({"type": ["object", "null"]})


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
class _Prepared:
    """What the settings say, made once for all calls.

    :param reranker: The reranker.
    :param base: The selection that the settings change.
    :param selection: The selection with the settings, but for a budget that each call computes.
    :param limited: The same, with the default limit where nothing else limits it.
    """

    reranker: Reranker
    base: Selection
    selection: Selection
    limited: Selection


class IntegrationSettings(CheckedModel):  # noqa: PLW1641  settings can be assigned
    """Settings of an integration: a ``model`` with its loading options, or a ``reranker``.

    Settings of the selection that aren't set are ``"default"``: those of ``selection`` then count, else the reranker's
    own. None is a value, which lifts a limit.

    :raises ConfigurationError: If a setting is invalid, given twice, or has no effect together with another.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", use_attribute_docstrings=True)

    model: Annotated[Any, WithJsonSchema({"type": ["string", "null"]})] = None
    """A bundled model's name (``small``, ``nano``, or their cascade ``fast``), a hub id, a folder, or a ``Scorer``;
    None takes ``small``. A name is loaded on the first call or by ``warmup()``, once a process for equal options."""
    reranker: SkipJsonSchema[Reranker | None] = Field(default=None, repr=False)
    """A ``Reranker`` instead of a model, to share it and its settings."""
    options: Annotated[InstanceOf[LoadOptions] | None, BeforeValidator(_as_options), _OBJECT] = None
    """All further options of loading the model: engine, dtype, revision, file, threads, offline use, ..."""
    selection: Annotated[InstanceOf[Selection] | None, BeforeValidator(_as_selection), _OBJECT] = None
    """All further settings of the selection: near-duplicates, diversity, adaptive k, reading order, ..."""
    device: str | None = None
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; None is ``auto``."""
    max_length: int | None = None
    """The longest pair of query and text in tokens; None takes the model's own."""
    batch_size: int | None = None
    """The maximum number of pairs in a batch; None limits it by tokens alone."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run."""
    top_n: Annotated[int, Field(ge=1)] | Default | None = "default"
    """The maximum number of documents; None sets no limit. Where neither it, ``budget`` nor ``min_probability`` is set,
    5."""
    budget: Annotated[Any, WithJsonSchema({"type": ["integer", "object", "string", "null"]})] = "default"
    """The context budget: tokens, a ``ContextBudget``, or a callable that is given each call's query."""
    min_probability: float | Default | None = "default"
    """The minimum probability of relevance."""
    policy: Policy | Default = "default"
    """What happens to a candidate that exceeds the budget: ``fill``, ``prefix`` or ``truncate``; or ``extract``, which
    fills the budget with the best windows of all candidates."""
    duplicates: Duplicates | Default = "default"
    """``exact`` drops repeated texts, ``near`` also similar ones, ``keep`` keeps them."""
    max_per_source: Annotated[int, Field(ge=1)] | Default | None = "default"
    """The maximum number of documents of one source; None for no limit. Those without a source aren't limited."""
    source_key: str | None = None
    """The metadata key of a document's source, for ``max_per_source`` and ``{source}`` in templates; None reads the
    framework's own."""
    windows: bool | Windows | None = None
    """Whether texts that are longer than the model reads are scored in windows, or how, as ``Windows``. By default only
    their beginning is read, as by other libraries: that bounds the cost of a call, and what was not read is reported as
    ``truncated``. ``policy="extract"`` always scores windows. A scorer that states no limit, such as a remote one,
    needs ``Windows(max_tokens=...)``."""
    fusion: Annotated[Fusion | None, BeforeValidator(_as_rule), _OBJECT] = None
    """How scores are combined with the first stage's; None orders by the scores alone."""
    on_error: OnError | None = None
    """What happens when scoring fails: ``degrade`` returns the first stage's order, ``raise`` raises. None is the
    reranker's own, and without one ``degrade``."""
    deadline_ms: float | None = None
    """Milliseconds until scoring ends; None for no limit. Loading the model isn't counted."""
    observers: SkipJsonSchema[tuple[Any, ...]] = ()
    """Called with each ``Ranking``."""
    score_text: str | None = None
    """What the model reads of a document: a format string over ``{text}`` and any metadata, such as
    ``"{title}. {text}"``. A field that a document lacks is empty; one that none has is an error."""
    signal_keys: tuple[str, ...] = ()
    """Metadata keys whose numbers or dates a fusion can weight as signals, higher is better."""
    add_metadata: bool = True
    """Whether to write scores and ranks to the documents' metadata. Stores that take flat metadata alone (Chroma)
    refuse the record, and retrievers that remove equal documents after several reranked queries, as
    ``MultiQueryRetriever`` does, need documents without it."""

    _prepared: _Prepared = PrivateAttr()

    @field_validator("model")
    @classmethod
    def _folder_as_text(cls, model: Any) -> Any:
        """Return a folder's path as a string, but never as a bundled model's name."""
        if not isinstance(model, Path):
            return model
        return str(model) if model.is_absolute() else f"./{model}"

    @field_validator("budget")
    @classmethod
    def _known_budget(cls, budget: Any) -> Any:
        """Return a budget in one of its forms; a class would fail at the first call."""
        try:
            budget = _as_budget_record(budget)
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
        if not (self.model is None or isinstance(self.model, str) or live):
            raise ConfigurationError(f"model must be a model's name, a folder or a Scorer, got {self.model!r:.80}")
        self._refuse_without_effect(live)
        self._refuse_given_twice()
        if self.score_text is not None:
            check_score_text(self.score_text)
        reranker = self.reranker or self._new_reranker(live or self._named())
        self._prepared = self._prepare(reranker)
        if is_loaded(reranker.scorer):
            reranker.check(self._prepared.selection)
        else:
            self._check_windows(reranker.scorer)
        return self

    def _refuse_without_effect(self, live: Scorer | None) -> None:
        """Refuse settings of what is loaded already."""
        loading = ("options", *_LOADING)
        fixed = (*loading, *_RERANKING, "on_error") if self.reranker else loading if live else ()
        idle = [name for name in self._given() if name in fixed]
        if idle:
            loaded = "reranker" if self.reranker else "model"
            raise ConfigurationError(f"{', '.join(idle)} has no effect together with a loaded {loaded}: set it there")

    def _named(self) -> NamedScorer:
        options = self.options or LoadOptions()
        beside = {name: getattr(self, name) for name in _LOADING if name in self._given()}
        return NamedScorer(self.model or DEFAULT_MODEL, options.with_settings(**beside))

    def _new_reranker(self, scorer: Scorer) -> Reranker:
        settings = {name: getattr(self, name) for name in _RERANKING}
        return Reranker(scorer, on_error=self.on_error or "degrade", **settings)

    def _refuse_given_twice(self) -> None:
        """Refuse a setting that ``selection`` has, too."""
        own = changed_fields(self.selection) if self.selection else {}
        for name in ("budget", *_SELECTION):
            value = getattr(self, name)
            if name in own and value != "default":
                raise ConfigurationError(
                    f"{name} is given twice: {name}={value!r:.80}, and selection=Selection({name}={own[name]!r:.80})"
                )

    def _check_windows(self, scorer: Scorer) -> None:
        """Refuse windows without a size for a remote model, which states no limit; extraction has a size of its own."""
        remote = isinstance(scorer, Windowed) and isinstance(scorer.scorer, NamedScorer) and scorer.scorer.remote
        sized = isinstance(self.windows, Windows) and self.windows.max_tokens is not None
        if remote and not sized and self._prepared.selection.policy != "extract":
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

    def __eq__(self, other: object) -> bool:
        """Return whether the other is of the same class with equal settings."""
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def warmup(self, *, background: bool = False) -> None:
        """Load the model and run it once, so that the first query doesn't wait for it.

        :param background: Return at once, and do it on a thread; ``ready`` says when it is done.
        """
        self.shared_reranker().warmup(background=background)

    @property
    def ready(self) -> bool:
        """Whether a call finds its model loaded."""
        return is_loaded(self.shared_reranker().scorer)

    def shared_reranker(self) -> Reranker:
        """Return the reranker of this integration."""
        return self._prepared.reranker

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
        for budget in (self.budget, self.selection and self.selection.budget):
            if isinstance(budget, ContextBudget) and budget.counting != ESTIMATE:
                live.append(f"budget with the token counter {budget.counting.name!r}")
            if isinstance(budget, ContextBudget) and callable(budget.template):
                live.append("budget with a callable template")
        return live

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting that is valid together with the others.

        :raises ConfigurationError: If it isn't; nothing is changed then.
        """
        if name not in type(self).model_fields:
            return super().__setattr__(name, value)
        changed = self.model_copy(update={name: value})
        super().__setattr__(name, getattr(changed, name))
        self._prepared = changed._prepared  # noqa: SLF001  of the same class
        return None

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
        prepared = self._current()
        return (prepared.selection if callable(self.budget) else prepared.limited).top_n

    def _with_fields(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates, whose text is the documents' own, with the text that is scored and with signals."""
        with_signals = read_signals(candidates, self.signal_keys)
        return write_score_texts(with_signals, self.score_text) if self.score_text is not None else with_signals

    def _earlier(self, candidate: Candidate) -> Candidate:
        """Return a candidate of an earlier call, whose text is the document's own, with the text that is scored."""
        return candidate if self.score_text is None else write_score_text(candidate, self.score_text)

    def _rerank(self, query: str, candidates: Sequence[Candidate], options: CallOptions) -> Ranking:
        _check_query(query)
        options = options_of_call(options)
        selection, exclude = self._selection(query, options), as_excluded(options.exclude, self._convert)
        return self.shared_reranker().rerank(query, candidates, selection=selection, exclude=exclude)

    async def _arerank(self, query: str, candidates: Sequence[Candidate], options: CallOptions) -> Ranking:
        """Return what ``_rerank`` returns; only the scoring counts towards the deadline, as there."""
        _check_query(query)
        options = options_of_call(options)
        exclude = as_excluded(options.exclude, self._convert)
        if options.counts or callable(self.budget):
            selection = await asyncio.to_thread(self._selection, query, options)
        else:
            selection = self._selection(query, options)
        return await self.shared_reranker().arerank(query, candidates, selection=selection, exclude=exclude)

    def _convert(self, item: Any) -> Any:
        """Return a document or a node of an earlier result as a candidate; other items stay as they are."""
        raise NotImplementedError

    def _selection(self, query: str, options: CallOptions) -> Selection:
        """Return the selection of one call: the settings', with the call's own options and budget."""
        prepared = self._current()
        if not options.counts and options.top_n == "default" and not callable(self.budget):
            return prepared.limited
        selection = prepared.selection
        if callable(self.budget):
            selection = replace(selection, budget=as_budget(self.budget, query))
        selection = options.applied_to(selection, query)
        return self._limited(selection) if options.top_n == "default" else selection

    def _current(self) -> _Prepared:
        """Return what was prepared, made anew where the reranker has another selection by now."""
        if self._prepared.base is not (self.selection or self._prepared.reranker.selection):
            self._prepared = self._prepare(self._prepared.reranker)
        return self._prepared

    def _prepare(self, reranker: Reranker) -> _Prepared:
        base = self.selection or reranker.selection
        changes = {name: value for name in _SELECTION if (value := getattr(self, name)) != "default"}
        if changes.get("duplicates", "near") != "near":
            changes["near"] = Selection().near  # that of the base goes with its own rule
        if self.budget != "default" and not callable(self.budget):
            changes["budget"] = as_budget(self.budget, "")
        selection = replace(base, **changes)
        return _Prepared(reranker, base, selection, self._limited(selection))

    def _limited(self, selection: Selection) -> Selection:
        """Return the selection with the default limit where nothing else limits it."""
        if self.top_n != "default" or selection.top_n is not None or selection.budget is not None:
            return selection
        if selection.min_probability is not None:  # which can't limit what has no score
            return replace(selection, max_unscored=DEFAULT_TOP_N)
        return replace(selection, top_n=DEFAULT_TOP_N)

    def _scorer_of(self, model: Any) -> Scorer | None:
        """Return a live model as a scorer, or None for a name or a folder."""
        return as_scorer(model)


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
    if isinstance(value, Selection | LoadOptions):
        return {name: _plain(setting) for name, setting in changed_fields(value).items()}
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

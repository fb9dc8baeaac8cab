"""One configuration file for a reranker: model, stages around it, selection, budget, fusion and deadline, as TOML.

``examples/secondpass.toml`` shows every table. pydantic checks each table by the types of the record that it becomes,
so that a new field of ``Selection``, ``Windows`` or ``LoadOptions`` is a new key without further code.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from secondpass.errors import ConfigurationError, require
from secondpass.fusion import ReciprocalRank, WeightedSum
from secondpass.models import CASCADES
from secondpass.models.dialects import is_remote
from secondpass.observe import AuditLog
from secondpass.reranker import Reranker
from secondpass.scorers.cached import Cached
from secondpass.scorers.cascade import Cascade
from secondpass.scorers.fallback import Fallback
from secondpass.scorers.load import cascade_of, load_scorer
from secondpass.scoring.options import DEFAULT_MODEL, LoadOptions
from secondpass.scoring.requests import OnError
from secondpass.scoring.scorer import OverlapScorer, Scorer
from secondpass.scoring.windows import Windowed, Windows
from secondpass.selection.adaptive import CoveredMass, LargestGap
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

require("a configuration file", "cli", "pydantic")

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    with_config,
)
from pydantic_core import ErrorDetails

from secondpass.integration import RULES

_OF_ONE_MODEL = ("max_length", "revision", "file", "label", "sha256", "trust_remote_code")


def _beside(name: str, file: ValidationInfo) -> str:
    """Return a path relative to the file's folder, which is the validation's context."""
    return str(Path(file.context or "").joinpath(Path(name).expanduser()))


def _model_beside(name: str, file: ValidationInfo) -> str:
    return _beside(name, file) if name.startswith(".") else name


def _rule(table: object) -> object:
    return table.get("rule") if isinstance(table, dict) else None


def _without_rule(table: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if key != "rule"}


def _ruled(*rules: str) -> Discriminator:
    wanted = f"a table with the rule {' or '.join(map(repr, rules))}"
    return Discriminator(_rule, custom_error_type="rule", custom_error_message=f"Input should be {wanted}")


_File = Annotated[str, AfterValidator(_beside)]
_Model = Annotated[str, AfterValidator(_model_beside)]
_FusionTable = Annotated[
    Annotated[ReciprocalRank, BeforeValidator(_without_rule), Tag("reciprocal_rank")]
    | Annotated[WeightedSum, BeforeValidator(_without_rule), Tag("weighted_sum")],
    _ruled("reciprocal_rank", "weighted_sum"),
]
_AdaptiveTable = Annotated[
    Annotated[LargestGap, BeforeValidator(_without_rule), Tag("largest_gap")]
    | Annotated[CoveredMass, BeforeValidator(_without_rule), Tag("covered_mass")],
    _ruled("largest_gap", "covered_mass"),
]


@dataclass(frozen=True, slots=True)
class ModelTable(LoadOptions):
    """``[model]``: the scorer that decides; see ``load_scorer``.

    :param name: A bundled model, a hub id, a folder (one that begins with a dot is relative to the file), or
        ``overlap``, which counts shared words.
    """

    name: _Model = DEFAULT_MODEL

    def load(self) -> Scorer:
        """Load the model.

        :raises ConfigurationError: If a setting is out of its range, or the model can't be loaded.
        """
        if self.name == "overlap":
            if self != ModelTable(name="overlap"):
                raise ConfigurationError("[model] name = 'overlap' counts words, and has no other settings")
            return OverlapScorer()
        return load_scorer(self.name, options=LoadOptions(**_values(self, LoadOptions)))

    @property
    def local(self) -> bool:
        """Whether the model is loaded on this machine."""
        return self.name != "overlap" and not is_remote(self.name)

    def other(self, name: str) -> "ModelTable":
        """Return the settings of another model: its machine's are the same, and its own are the defaults."""
        other = ModelTable(name=name)
        own = {"name": name} | {setting: getattr(other, setting) for setting in _OF_ONE_MODEL}
        return replace(self, **own) if other.local else other


@dataclass(frozen=True, slots=True)
class CascadeTable:
    """``[cascade]``: cheaper models that prune before ``[model]`` decides; see ``Cascade``."""

    models: tuple[_Model, ...]
    keep: int | float | tuple[int | float, ...] = 30
    first_stage_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class FallbackTable:
    """``[fallback]``: models that answer where the ones before fail; see ``Fallback``."""

    models: tuple[_Model, ...]
    max_failures: int = 3
    retry_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class CacheTable:
    """``[cache]``: scores that are looked up; see ``Cached``."""

    path: _File | None = None
    max_entries: int = 1_000_000
    allow_batch_dependent: bool = False


@dataclass(frozen=True, slots=True)
class SelectionTable(Selection):
    """``[selection]``: how the kept are chosen; see ``Selection``. The budget has a table of its own."""

    budget: ContextBudget | None = field(default=None, init=False)
    adaptive: _AdaptiveTable | None = None


@dataclass(frozen=True, slots=True)
class BudgetTable:
    """``[budget]``: the context budget; see ``ContextBudget``.

    :param tokenizer: The path of a ``tokenizer.json``; None for an estimate.
    """

    max_tokens: int
    tokenizer: _File | None = None
    separator: str = "\n\n"
    template: str = "{text}"

    def open(self) -> ContextBudget:
        """Return the budget.

        :raises ConfigurationError: If it is invalid, or its tokenizer can't be read.
        """
        counter = None
        try:
            if self.tokenizer is not None:
                from tokenizers import Tokenizer  # costs time that most runs don't need

                counter = Tokenizer.from_file(self.tokenizer)
        except Exception as error:  # the library raises nothing more precise
            raise ConfigurationError(
                "[budget] tokenizer must be the path of a tokenizer.json, and --counter that or 'estimate'; "
                f"{self.tokenizer} can't be opened: {error!s:.200}"
            ) from error
        return ContextBudget(self.max_tokens, counter, self.separator, self.template)


@dataclass(frozen=True, slots=True)
class AuditTable:
    """``[audit]``: where each call is recorded; see ``AuditLog``."""

    path: _File
    max_mb: float = 100.0
    max_days: float = 90.0
    queries: bool = True
    texts: bool = False
    max_queued: int = 1000


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True, slots=True)
class Config:
    """What a configuration file states: settings of ``Reranker``, and a table for each of its parts."""

    deadline_ms: float | None = None
    on_error: OnError = "degrade"
    model: ModelTable = field(default_factory=ModelTable)
    cascade: CascadeTable | None = None
    windows: Windows | None = None
    fallback: FallbackTable | None = None
    cache: CacheTable | None = None
    selection: SelectionTable = field(default_factory=SelectionTable)
    budget: BudgetTable | None = None
    fusion: _FusionTable | None = None
    audit: AuditTable | None = None

    def reranker(self) -> Reranker:
        """Return the reranker, with its models loaded.

        :raises ConfigurationError: If a setting is out of its range, or a model or a file can't be opened.
        """
        return Reranker(
            selection=self.selected(),
            fusion=self.fusion,
            on_error=self.on_error,
            deadline_ms=self.deadline_ms,
            observers=[AuditLog(**asdict(self.audit))] if self.audit else [],
            scorer=self.scorer(),
        )

    def scorer(self) -> Scorer:
        """Return the model and what is around it: the cache inside, then cascade, windows, and the fallback outside.

        :raises ConfigurationError: If a setting is out of its range, or a model can't be loaded.
        """
        cheap = [self.model.other(name) for name in (self.cascade.models if self.cascade else ())]
        others = [self.model.other(name) for name in (self.fallback.models if self.fallback else ())]
        model = self.model
        if not model.local and any(other.local for other in (*cheap, *others)):  # the machine's settings are for those
            model = replace(ModelTable(name=model.name), **{name: getattr(model, name) for name in _OF_ONE_MODEL})
        scorer = self._load(model)
        if self.cascade:
            scorer = Cascade(
                *map(self._load, cheap),
                scorer,
                keep=self.cascade.keep,
                first_stage_weight=self.cascade.first_stage_weight,
            )
        if self.windows:
            scorer = Windowed(scorer, self.windows)
        if self.fallback is None:
            return scorer
        failures, seconds = self.fallback.max_failures, self.fallback.retry_seconds
        return Fallback(scorer, *map(self._load, others), max_failures=failures, retry_seconds=seconds)

    def selected(self) -> Selection:
        """Return the selection with the budget.

        :raises ConfigurationError: If the budget is invalid, or its tokenizer can't be read.
        """
        budget = self.budget.open() if self.budget else None
        return Selection(**_values(self.selection, Selection) | {"budget": budget})

    def _load(self, model: ModelTable) -> Scorer:
        """Load a model, its scores cached where there is a cache."""
        if model.name in CASCADES:
            return cascade_of(model.name, lambda name: self._load(replace(model, name=name)))
        return Cached(model.load(), **asdict(self.cache)) if self.cache else model.load()


_TABLES: dict[str, Any] = {"": Config} | {
    name: record
    for name, hint in get_type_hints(Config).items()
    for record in (hint, *get_args(hint))
    if is_dataclass(record)
}


def load(path: str | Path) -> Reranker:
    """Return the reranker that a configuration file states, with its models loaded.

    :param path: A TOML file.
    :raises ConfigurationError: If the file can't be read, has a wrong key or value, or a model can't be loaded.
    """
    return read_config(path).reranker()


def read_config(path: str | Path) -> Config:
    """Return what a configuration file states; nothing is loaded.

    :param path: A TOML file.
    :raises ConfigurationError: If it can't be read, or has a wrong key or value.
    """
    path = Path(path).expanduser()
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"a configuration must be a TOML file, and {path} can't be read: {error}") from error
    try:  # as JSON: in its strict mode pydantic takes lists for tuples, and tables for records
        return TypeAdapter(Config).validate_json(json.dumps(data, default=str), context=path.absolute().parent)
    except ValidationError as error:
        places = groupby(error.errors(), lambda item: _place(item["loc"], data))
        problems = "; ".join(_problem(place, list(items)) for place, items in places)
        raise ConfigurationError(f"{path}: {problems}") from None


def _values(record: Any, base: type) -> dict[str, Any]:
    """Return the values that a record has for the fields of its base."""
    return {item.name: getattr(record, item.name) for item in fields(base)}


def _place(location: Sequence[int | str], data: Any) -> str:
    """Return the table or key of an error, without the names that pydantic adds for the members of a union."""
    keys = []
    for part in location:
        if isinstance(data, dict) and part in data:
            keys.append(str(part))
            data = data[part]
    return ".".join(keys)


def _problem(place: str, errors: Sequence[ErrorDetails]) -> str:
    """Return what is wrong at one place; a value that may have several types has an error for each."""
    first = errors[0]
    if first["type"] == "unexpected_keyword_argument":
        return _unknown(place, [str(part) for part in first["loc"]])
    if first["type"] == "missing":
        return f"[{place}] needs {', '.join(str(error['loc'][-1]) for error in errors)}"
    if first["type"] == "value_error":
        return f"[{place}] {first['ctx']['error']}"
    wanted = " or ".join(dict.fromkeys(error["msg"].removeprefix("Input should be ") for error in errors))
    given, allowed = first["input"], re.findall("'(.*?)'", wanted)
    close = get_close_matches(given, allowed, 1) if isinstance(given, str) else ()
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"{place} must be {wanted.replace('an object', 'a table')}, got {given!r:.80}{meant}"


def _unknown(place: str, location: Sequence[str]) -> str:
    """Return what is wrong with a key, what its table allows, and what was probably meant."""
    *_, table, key = "", *location  # the last name of the table, or its rule
    where, allowed = place.removesuffix(key).rstrip("."), _keys((_TABLES | RULES)[table])
    homes = [f"in [{name}]" if name else "at the top level" for name in _TABLES if key in _keys(_TABLES[name])]
    close = get_close_matches(key, allowed, 1)
    hint = f": did you mean {close[0]}?" if close else f": it stands {' or '.join(homes)}" if homes else ""
    owner = f"[{where}] has" if where else "the file has"
    return f"{owner} the unknown key {key!r:.80}{hint} (allowed: {', '.join(allowed)})"


def _keys(record: Any) -> list[str]:
    return [item.name for item in fields(record) if item.init]

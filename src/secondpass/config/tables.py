"""The tables of a configuration file, and the reranker's parts that they state."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from secondpass.audit import AuditLog
from secondpass.errors import ConfigurationError
from secondpass.fusion import ReciprocalRank, WeightedSum
from secondpass.models import CASCADES, DEFAULT_MODEL
from secondpass.observers import Observer
from secondpass.scoring.cache import Cached
from secondpass.scoring.cascade import Cascade
from secondpass.scoring.fallback import Fallback
from secondpass.scoring.load import EngineName, LoadOptions, cascade_of
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.requests import OnError
from secondpass.scoring.scorer import Scorer
from secondpass.scoring.shared import LoadKey
from secondpass.scoring.windows import Windowed, Windows
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

_OF_ONE_MODEL = ("file", "label", "sha256", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class ModelTable(LoadOptions):
    """``[model]``: the scorer that decides; see ``load_scorer``.

    :param name: A bundled model, a hub id, a folder (one that begins with a dot is relative to the file), or
        ``overlap``, which counts shared words.
    """

    name: str = DEFAULT_MODEL
    engine: EngineName = "auto"
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    revision: str | None = None

    def key(self, folder: Path) -> LoadKey:
        """Return the arguments of ``load_scorer``."""
        options = LoadOptions(**{option.name: getattr(self, option.name) for option in fields(LoadOptions)})
        name = str(folder / self.name) if self.name.startswith(".") else self.name
        return LoadKey(name, self.engine, self.device, self.dtype, self.max_length, self.revision, options)

    def other(self, name: str) -> "ModelTable":
        """Return the settings of another model: its machine's are the same, and its own are the defaults."""
        own = {option: getattr(LoadOptions(), option) for option in _OF_ONE_MODEL}
        return replace(self, name=name, max_length=None, revision=None, **own)


@dataclass(frozen=True, slots=True)
class CascadeTable:
    """``[cascade]``: cheaper models that prune before ``[model]`` decides; see ``Cascade``."""

    models: tuple[str, ...]
    keep: int | float | tuple[int | float, ...] = 30
    vote: float = 0.0


@dataclass(frozen=True, slots=True)
class FallbackTable:
    """``[fallback]``: models that answer where the ones before fail; see ``Fallback``."""

    models: tuple[str, ...]
    max_failures: int = 3
    retry_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class CacheTable:
    """``[cache]``: scores that are looked up; see ``Cached``."""

    path: str | None = None
    max_entries: int = 1_000_000
    allow_batch_dependent: bool = False


@dataclass(frozen=True, slots=True)
class BudgetTable:
    """``[budget]``: the context budget; see ``ContextBudget``.

    :param tokenizer: The path of a ``tokenizer.json``, or ``estimate``.
    """

    max_tokens: int
    tokenizer: str | None = None
    separator: str = "\n\n"
    template: str = "{text}"


@dataclass(frozen=True, slots=True)
class AuditTable:
    """``[audit]``: where each call is recorded; see ``AuditLog``."""

    path: str
    max_mb: float = 100.0
    max_days: float = 90.0
    queries: bool = True
    texts: bool = False
    max_queued: int = 1000


@dataclass(frozen=True, slots=True)
class Config:
    """What a configuration file states: settings of ``Reranker``, and a table for each of its parts.

    :param folder: The file's folder, to which its paths are relative.
    """

    deadline_ms: float | None = None
    on_error: OnError = "degrade"
    model: ModelTable = field(default_factory=ModelTable)
    cascade: CascadeTable | None = None
    windows: Windows | None = None
    fallback: FallbackTable | None = None
    cache: CacheTable | None = None
    selection: Selection = field(default_factory=Selection)
    budget: BudgetTable | None = None
    fusion: ReciprocalRank | WeightedSum | None = None
    audit: AuditTable | None = None
    folder: Path = field(default_factory=Path, compare=False)

    def parts(self) -> dict[str, Any]:
        """Return the arguments of ``Reranker``, with the models loaded.

        :raises ConfigurationError: If a setting is out of its range, or a model can't be loaded.
        """
        return {
            "selection": self.selected(),
            "fusion": self.fusion,
            "deadline_ms": self.deadline_ms,
            "on_error": self.on_error,
            "observers": self.observers(),
            "scorer": self.scorer(),
        }

    def scorer(self) -> Scorer:
        """Return the model and what is around it: the cache inside, then cascade, windows, and the fallback outside.

        :raises ConfigurationError: If a setting is out of its range, or a model can't be loaded.
        """
        scorer = self._load(self.model)
        if self.cascade:
            cheap = [self._load(self.model.other(name)) for name in self.cascade.models]
            scorer = Cascade(*cheap, scorer, keep=self.cascade.keep, vote=self.cascade.vote)
        if self.windows:
            scorer = Windowed(scorer, self.windows)
        if self.fallback is None:
            return scorer
        others = [self._load(self.model.other(name)) for name in self.fallback.models]
        return Fallback(
            scorer, *others, max_failures=self.fallback.max_failures, retry_seconds=self.fallback.retry_seconds
        )

    def selected(self) -> Selection:
        """Return the selection with the budget.

        :raises ConfigurationError: If the budget is invalid, or its tokenizer can't be read.
        """
        if self.budget is None:
            return self.selection
        table = self.budget
        estimated = table.tokenizer in {None, "estimate"}
        counter = None if estimated else read_tokenizer(self._path(str(table.tokenizer)))
        budget = ContextBudget(table.max_tokens, counter, table.separator, table.template)
        return replace(self.selection, budget=budget)

    def observers(self) -> list[Observer]:
        """Return the audit log, if there is one.

        :raises ConfigurationError: If its file can't be written.
        """
        return [AuditLog(**asdict(self.audit) | {"path": self._path(self.audit.path)})] if self.audit else []

    def _load(self, model: ModelTable) -> Scorer:
        """Load a model, its scores cached where there is a cache."""
        if model.name in CASCADES:
            return cascade_of(model.name, lambda name: self._load(replace(model, name=name)))
        scorer: Scorer = OverlapScorer() if model.name == "overlap" else model.key(self.folder).load()
        if self.cache is None:
            return scorer
        path = None if self.cache.path is None else self._path(self.cache.path)
        limits = {"max_entries": self.cache.max_entries}
        return Cached(scorer, path, **limits, allow_batch_dependent=self.cache.allow_batch_dependent)

    def _path(self, name: str) -> Path:
        return self.folder / Path(name).expanduser()


def read_tokenizer(path: Path) -> object:
    """Return a tokenizer that counts a budget's tokens.

    :raises ConfigurationError: If the file is no ``tokenizer.json``.
    """
    from tokenizers import Tokenizer  # costs time that most runs don't need

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise ConfigurationError(
            "[budget] tokenizer or --counter must be 'estimate' or the path of a tokenizer.json, and "
            f"{path} can't be opened: {error!s:.200}"
        ) from error

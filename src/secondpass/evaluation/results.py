"""What an evaluation found, as frozen records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from secondpass.evaluation.changes import Changed
from secondpass.evaluation.depth import Timing
from secondpass.evaluation.estimates import Interval, Paired


@dataclass(frozen=True, slots=True)
class Difference:
    """Two systems on one measure.

    :param before: The system that is compared with.
    :param after: The one that is compared.
    :param measure: The measure's name.
    :param found: After minus before, over the same queries.
    """

    before: str
    after: str
    measure: str
    found: Paired


@dataclass(frozen=True, slots=True)
class Cost:
    """What a pass cost, over those that were whole: a pass that broke down is fast, and would flatter the mean.

    :param passes: How many those are; with none the other figures are None or empty.
    :param median_ms: The median time of a query in milliseconds, selection included.
    :param mean_ms: The mean.
    :param stages_ms: The mean of each stage.
    :param tokens: The mean number of tokens that the scorer read for a query; None where it doesn't say.
    :param candidates: The mean number of candidates.
    """

    passes: int
    median_ms: float | None
    mean_ms: float | None
    stages_ms: Mapping[str, float]
    tokens: float | None
    candidates: float | None


@dataclass(frozen=True, slots=True)
class Passes:
    """How the passes went.

    :param queries: How many there were.
    :param degraded: How many stand, in part or as a whole, in the first stage's order, by cause.
    :param unscored: How many candidates went without a score, by reason.
    :param truncated: How many candidates the model didn't read to their end.
    """

    queries: int
    degraded: Mapping[str, int]
    unscored: Mapping[str, int]
    truncated: int

    @property
    def whole(self) -> bool:
        """Whether every candidate of every query was scored."""
        return not self.degraded and not self.unscored

    def trouble(self) -> str:
        """Say in one line what wasn't whole; empty where everything was."""
        said = []
        if self.degraded:
            said.append(f"{sum(self.degraded.values())} of {self.queries} passes degraded ({_counts(self.degraded)})")
        if self.unscored:
            said.append(f"{sum(self.unscored.values())} candidates without a score ({_counts(self.unscored)})")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Whole:
    """A measure over the queries whose pass wasn't degraded, told where some were.

    :param measure: The measure's name.
    :param queries: How many those are.
    :param before: The first stage's mean over them.
    :param after: The second pass's mean over them.
    """

    measure: str
    queries: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """The quality at one depth, the rest following in first-stage order, and the time that reranking it takes.

    :param depth: How many candidates are reranked; 0 is the first stage.
    :param quality: The mean of each measure.
    :param gain: The mean minus the first stage's, for each measure.
    :param timing: The milliseconds; None where none were measured.
    """

    depth: int
    quality: Mapping[str, Interval]
    gain: Mapping[str, float]
    timing: Timing | None


@dataclass(frozen=True, slots=True)
class Contained:
    """How often one way of filling the context held the answer, and the mean number of tokens that it took."""

    share: Interval
    tokens: float


@dataclass(frozen=True, slots=True)
class ContextPoint:
    """Answer in context at one budget.

    :param budget: The ceiling in tokens.
    :param plain: The first stage's top k, as large a k as fits.
    :param rules: The first stage's order, filled by the second pass's own rules.
    :param second: What the second pass keeps.
    :param gain: The second pass minus the plain top k, over the same queries.
    """

    budget: int
    plain: Contained
    rules: Contained
    second: Contained
    gain: Paired


@dataclass(frozen=True, slots=True)
class SystemResult:
    """What was found of one second pass.

    :param name: Its name.
    :param fingerprint: What decides its model's scores.
    :param quality: The mean of each measure over all judged queries, degraded passes among them.
    :param cost: What a pass cost.
    :param passes: How the passes went.
    :param whole: The measures without the degraded passes; empty where there were none of those.
    :param depths: The depth curve, from 0; empty where it wasn't asked for.
    :param contexts: Answer in context, by budget; empty where it wasn't asked for.
    :param won: The queries that gained most on the first measure.
    :param lost: The queries that lost most on it.
    """

    name: str
    fingerprint: str
    quality: Mapping[str, Interval]
    cost: Cost
    passes: Passes
    whole: tuple[Whole, ...] = ()
    depths: tuple[DepthPoint, ...] = ()
    contexts: tuple[ContextPoint, ...] = ()
    won: tuple[Changed, ...] = ()
    lost: tuple[Changed, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A first stage without and with one or more second passes.

    :param collection: The collection's name.
    :param queries: How many queries were asked.
    :param judged: How many of them are judged, and stand behind the measures.
    :param asked: How many stand behind answer in context.
    :param looked_for: What answer in context looked for: ``"answer"`` or ``"relevant item"``.
    :param notes: What a reader should know of the collection.
    :param measures: The measures' names, in the caller's order.
    :param settings: What was looked at, as plain data.
    :param first_stage: The first stage's mean of each measure.
    :param systems: The second passes.
    :param differences: Every pair of systems, the first stage among them, on each measure.
    :param per_query: From a system's name to each measure's values by query id.
    """

    collection: str
    queries: int
    judged: int
    asked: int
    looked_for: str
    notes: tuple[str, ...]
    measures: tuple[str, ...]
    settings: Mapping[str, Any]
    first_stage: Mapping[str, Interval]
    systems: tuple[SystemResult, ...]
    differences: tuple[Difference, ...]
    per_query: Mapping[str, Mapping[str, Mapping[str, float]]] = field(repr=False, default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def to_markdown(self) -> str:
        """Return the tables that people read: quality, differences, cost, curves, and the queries won and lost."""
        from secondpass.evaluation.markdown import as_markdown  # a display is entered only when somebody looks

        return as_markdown(self)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _plain(value: Any) -> Any:
    """Turn named tuples into mappings and tuples into lists, all the way down; ``asdict`` leaves both as they are."""
    if isinstance(value, Interval | Paired):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value

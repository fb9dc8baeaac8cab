"""The second passes under evaluation, and one pass of each over a query."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError
from secondpass.ranking import Judged, Kept, Ranking
from secondpass.reranker import Reranker
from secondpass.scores import Stage, Unscored
from secondpass.scoring.protocol import Scorer
from secondpass.selection.select import Selection, select

FIRST_STAGE = "first stage"
"""What results call the order without a second pass."""
EVERYTHING = Selection(duplicates="keep")
"""Keeps all that was ranked, in the order of relevance."""

Given = Reranker | Scorer
"""What is evaluated: a reranker with its own rules, or a scorer, whose whole order is measured."""


@dataclass(frozen=True, slots=True)
class System:
    """A second pass and the rules that its figures come from.

    :param name: What results call it.
    :param reranker: What ranks.
    :param ranks: Whose kept, in the order of relevance, are measured.
    :param fills: The rules for the context, whose budget is set anew for each point of the curve.
    """

    name: str
    reranker: Reranker
    ranks: Selection
    fills: Selection


@dataclass(frozen=True, slots=True)
class Pass:
    """What one second pass made of one query.

    :param query: The query's id.
    :param ranking: The ranking with everything that was ranked kept.
    :param order: The ids that the system's own rules keep, best first.
    :param stages: Scoring, fusion, and the selection by the system's own rules.
    :param seconds: The wall-clock time of all of it.
    """

    query: str
    ranking: Ranking
    order: tuple[str, ...]
    stages: tuple[Stage, ...]
    seconds: float

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Every candidate; those that were ranked come first, best first."""
        return (*self.ranking.kept, *self.ranking.dropped)

    @property
    def unscored(self) -> list[Unscored]:
        """The outcomes of candidates that went without a score."""
        return [item.outcome for item in self.judged if isinstance(item.outcome, Unscored)]

    @property
    def tokens(self) -> int | None:
        """The tokens that the scorer read, padding left out; None where it doesn't say."""
        told = [stage.facts["tokens"] for stage in self.stages[:-1] if "tokens" in stage.facts]
        return sum(count for count in told if isinstance(count, int)) if told else None


def as_systems(given: Given | Sequence[Given] | Mapping[str, Given]) -> tuple[System, ...]:
    """Give each second pass a name of its own: the caller's, or its model's, numbered where two are alike.

    :raises ConfigurationError: If there is none, one is neither a reranker nor a scorer, or a name is taken.
    """
    if isinstance(given, Mapping):
        named = list(given.items())
    else:
        rerankers = list(given) if isinstance(given, Sequence) else [given]
        named = _numbered((_name(item), item) for item in rerankers)
    if not named or any(name == FIRST_STAGE for name, _ in named):
        raise ConfigurationError(
            f"give at least one reranker or scorer, under a name that isn't {FIRST_STAGE!r}; got {given!r:.80}"
        )
    return tuple(_system(name, item) for name, item in named)


def run_pass(system: System, query: str, question: str, candidates: Sequence[Candidate]) -> Pass:
    """Rerank one query's candidates, scoring them once, and apply the system's own rules.

    :raises ScoringError: If scoring failed and the reranker's ``on_error`` is ``"raise"``.
    """
    started = time.perf_counter()
    ranking = system.reranker.rerank(question, candidates, selection=EVERYTHING)
    selecting = time.perf_counter()
    selected = select((*ranking.kept, *ranking.dropped), system.ranks)
    ended = time.perf_counter()
    stages = (*ranking.stages[:-1], Stage("select", ended - selecting, selected.facts))
    return Pass(query, ranking, ids_by_rank(selected.kept), stages, ended - started)


def ids_by_rank(kept: Iterable[Kept]) -> tuple[str, ...]:
    """Return the ids of the kept in the order of relevance, whatever the order of reading."""
    return tuple(str(item.candidate.id) for item in sorted(kept, key=lambda item: item.rank))


def _name(item: Given) -> str:
    if isinstance(item, Reranker):
        fused = f" + {type(item.fusion).__name__}" if item.fusion else ""
        return f"{item.scorer.spec.name}{fused}"
    if not hasattr(item, "score_pairs"):
        raise ConfigurationError(f"what is evaluated must be a Reranker or a Scorer, got {item!r:.80}")
    return item.spec.name


def _numbered(named: Iterable[tuple[str, Given]]) -> list[tuple[str, Given]]:
    found: dict[str, Given] = {}
    for name, item in named:
        alike = sum(other == name or other.startswith(f"{name} #") for other in found)
        found[f"{name} #{alike + 1}" if alike else name] = item
    return list(found.items())


def _system(name: str, item: Given) -> System:
    if isinstance(item, Reranker):
        return System(name, item, item.selection, replace(item.selection, budget=None))
    return System(name, Reranker(item), EVERYTHING, Selection())

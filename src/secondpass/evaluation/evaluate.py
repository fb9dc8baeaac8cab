"""The road of an evaluation: passes, measures, differences, curves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

from secondpass.evaluation.changes import Changes, most_changed
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.context import Contexts
from secondpass.evaluation.curves import context_curve, depth_curve, means
from secondpass.evaluation.estimates import Sampling, compare
from secondpass.evaluation.extras import require
from secondpass.evaluation.measures import DEFAULT_MEASURES, Measures
from secondpass.evaluation.results import Difference, Evaluation, SystemResult
from secondpass.evaluation.settings import DEFAULT_SETTINGS, Settings
from secondpass.evaluation.summary import cost_of, passes_of, whole_only
from secondpass.evaluation.systems import FIRST_STAGE, Given, Pass, System, as_systems, run_pass

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_Values = Mapping[str, Mapping[str, float]]


def evaluate(
    rerankers: Given | Sequence[Given] | Mapping[str, Given],
    collection: Collection,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    settings: Settings = DEFAULT_SETTINGS,
    progress: Progress | None = None,
) -> Evaluation:
    """Ask every query without and with each second pass, and say what that gains and what it costs.

    Each system scores each query's candidates once; the curves come from those scores, and only the depth curve's
    milliseconds are measured apart. A ``Reranker`` is measured as it is: what its own top-k or threshold drops is
    gone. A bare scorer is measured on its whole order.

    :param rerankers: One second pass or several; a mapping names them.
    :param collection: What is asked; ``read_beir``, ``read_trec``, ``read_squad`` and ``ask`` make one.
    :param measures: In ir_measures' words; the first decides which queries were won and lost. A collection with
        answers alone has no values of any.
    :param settings: Everything else that is looked at.
    :param progress: Told how far the work is.
    :raises ConfigurationError: If a measure or setting can't work.
    :raises MissingExtra: If a library of the extra ``eval`` isn't installed.
    :raises ScoringError: If scoring failed and a reranker's ``on_error`` is ``"raise"``.
    """
    require("ir_measures", "pytrec_eval", "scipy")
    systems = as_systems(rerankers)
    study = _Study(collection, Measures(measures, collection.qrels), settings, progress or _silent)
    passes = {system.name: study.passes(system) for system in systems}
    values = {FIRST_STAGE: study.first_stage()} | {name: study.values(done) for name, done in passes.items()}
    return Evaluation(
        collection=collection.name,
        queries=len(collection),
        judged=len(collection.qrels),
        asked=len(study.contexts),
        looked_for="answer" if collection.answers else "relevant item",
        notes=collection.notes,
        measures=tuple(values[FIRST_STAGE]),
        settings=settings.to_dict(),
        first_stage=means(values[FIRST_STAGE], settings.sampling),
        systems=tuple(study.result(system, passes[system.name], values) for system in systems),
        differences=tuple(_differences(values, settings.sampling)),
        per_query=values,
    )


class _Study:
    """What stays the same for every system of an evaluation."""

    def __init__(self, collection: Collection, measures: Measures, settings: Settings, tell: Progress) -> None:
        self.collection = collection
        self.measures = measures
        self.settings = settings
        self.tell = tell
        self.contexts = Contexts(collection, settings)
        self.plain = {budget: self.contexts.plainly(budget) for budget in settings.budgets}

    def first_stage(self) -> _Values:
        """Measure the order without a second pass."""
        run = self.collection.run
        return self.measures.per_query({query: [str(item.id) for item in found] for query, found in run.items()})

    def values(self, passes: Sequence[Pass]) -> _Values:
        """Measure the order that a second pass kept."""
        return self.measures.per_query({done.query: done.order for done in passes})

    def passes(self, system: System) -> list[Pass]:
        """Ask every query; the model is warm before the first, so that no query pays for its loading."""
        system.reranker.scorer.warmup()
        found = []
        for query, question in self.collection.queries.items():
            found.append(run_pass(system, query, question, self.collection.run[query]))
            self.tell(f"reranking with {system.name}", len(found), len(self.collection))
        return found

    def result(self, system: System, passes: Sequence[Pass], values: Mapping[str, _Values]) -> SystemResult:
        """Put together what was found of one system."""
        before, after = values[FIRST_STAGE], values[system.name]
        changes = self._changed(passes, before, after)
        return SystemResult(
            name=system.name,
            fingerprint=system.reranker.scorer.spec.fingerprint,
            quality=means(after, self.settings.sampling),
            cost=cost_of(passes),
            passes=passes_of(passes),
            whole=whole_only(passes, before, after),
            depths=depth_curve(system, passes, self.collection, self.measures, self.settings, self.tell),
            contexts=context_curve(system, passes, self.contexts, self.plain, self.settings.sampling),
            won=changes.won,
            lost=changes.lost,
        )

    def _changed(self, passes: Sequence[Pass], before: _Values, after: _Values) -> Changes:
        measure = next(iter(before), None)
        if measure is None:  # a collection with answers alone
            return Changes((), ())
        shown = (self.settings.shown, self.settings.moved)
        return most_changed(self.collection, passes, before[measure], after[measure], shown)


def _differences(values: Mapping[str, _Values], sampling: Sampling) -> Iterator[Difference]:
    """Compare every pair of systems, the first stage among them, on each measure."""
    for before, after in combinations(values, 2):
        for measure, found in values[before].items():
            paired = compare(list(found.values()), list(values[after][measure].values()), sampling)
            yield Difference(before, after, measure, paired)


def _silent(_what: str, _done: int, _of: int) -> None:
    """Tell nobody."""

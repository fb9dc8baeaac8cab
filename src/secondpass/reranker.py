"""The pipeline: candidates, scoring, fusion, selection, ranking."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn

from secondpass.errors import ConfigurationError, InputError, check_list, checked
from secondpass.fusion import Fusion, FusionInput
from secondpass.observers import CallEvent, Observer, check_observers, notify
from secondpass.processes import CALLS, LATE_CALLS
from secondpass.ranking import FUSION_LEFT_OUT, Ranked, Ranking, noted
from secondpass.records import Call, Candidate, Score, Spec, Stage, Unscored, as_call, as_candidates, check_deadline
from secondpass.scoring.closer import CloserReading
from secondpass.scoring.named import NamedScorer
from secondpass.scoring.options import DEFAULT_MODEL
from secondpass.scoring.requests import OnError, Request, Scoring, score_requests
from secondpass.scoring.scorer import (
    ListScorer,
    Scorer,
    as_scorer,
    is_loaded,
    load_model,
    refuse_pickling,
    warm_up,
    warm_up_in_background,
)
from secondpass.scoring.windows import Windowed, Windows, check_windows, extract_tokens, for_extraction
from secondpass.selection.budget import ContextBudget
from secondpass.selection.filters import Results, as_excluded
from secondpass.selection.select import Selected, Selection, select


@checked
class Reranker:
    """Scores candidates against the query, reorders them, and selects those that go into the LLM's context.

    Safe to share between threads. A deep copy shares the scorer.

    :param scorer: A bundled model's name, a hub id or a folder, which is loaded here and shared within the process; or
        any ``Scorer`` or ``ListScorer``. ``load_scorer`` has more options, and a ``NamedScorer`` loads on first use, or
        in the background.
    :param top_n: The maximum number of candidates kept; None for no limit.
    :param budget: The context budget: tokens, or a ``ContextBudget``; None for no limit.
    :param selection: How candidates are selected otherwise.
    :param fusion: How scores are combined with the first stage's; None orders by the scores alone.
    :param windows: Whether texts that are longer than the model reads are scored in windows, or how; by default only
        their beginning is read.
    :param on_error: What happens when scoring fails: ``"degrade"`` returns the first stage's order, marked and
        logged; ``"raise"`` raises. Configuration errors always raise.
    :param deadline_ms: Milliseconds until scoring ends, with the scores that there are by then; None for no limit. The
        loading of a model before it and the selection after it are not counted.
    :param observers: Called with each ranking; an exception in one is logged and changes nothing.
    :raises ConfigurationError: If a setting is invalid, or a named model can't be loaded.
    """

    def __init__(  # noqa: PLR0913  the settings of the pipeline, by their names
        self,
        scorer: str | Path | Scorer | ListScorer = DEFAULT_MODEL,
        *,
        top_n: int | None = None,
        budget: int | ContextBudget | None = None,
        selection: Selection | None = None,
        fusion: Fusion | None = None,
        windows: bool | Windows | None = None,
        on_error: OnError = "degrade",
        deadline_ms: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        check_deadline(deadline_ms)
        if fusion is not None and (isinstance(fusion, type) or not hasattr(fusion, "fuse")):
            raise ConfigurationError(f"fusion must be a Fusion, such as ReciprocalRank(), or None, got {fusion!r:.80}")
        self.observers = check_observers(observers)
        self.scorer = NamedScorer(scorer).load() if isinstance(scorer, str | Path) else _checked(scorer)
        if windows:
            self.scorer = Windowed(self.scorer, windows if isinstance(windows, Windows) else None)
        self.selection = _with_limits(Selection() if selection is None else selection, top_n=top_n, budget=budget)
        self.fusion = fusion
        self.on_error = on_error
        self.deadline_ms = deadline_ms
        self._warm = threading.Event()
        self._checked: Selection | None = None  # the last selection that goes with the scorer
        if is_loaded(self.scorer):  # of another only the first call can say whether the settings fit
            _check_fusion(fusion, self.scorer.spec)
            self.check()

    def __copy__(self) -> "Reranker":
        """Return a reranker with the same settings and the same scorer."""
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> "Reranker":
        """Return a reranker with the same settings and the same scorer."""
        return Reranker(
            self.scorer,
            selection=self.selection,
            fusion=self.fusion,
            on_error=self.on_error,
            deadline_ms=self.deadline_ms,
            observers=self.observers,
        )

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        :raises ConfigurationError: Always.
        """
        refuse_pickling("a Reranker")

    def check(self, selection: Selection | None = None) -> Selection:
        """Return the selection of a call, if it goes with the scorer; nothing is scored.

        :param selection: The selection; None takes the reranker's.
        :raises ConfigurationError: If it has a minimum probability and the scorer's scale has none, or if the scorer
            is ``Windowed`` and nothing says how large a window is.
        """
        selection = _checked_selection(self.selection if selection is None else selection)
        if selection is not self._checked:
            _check_threshold(selection, self.scorer.spec)
            check_windows(self.scorer, extracts=selection.extracts)
            self._checked = selection if is_loaded(self.scorer) else None
        return selection

    @property
    def ready(self) -> bool:
        """Whether a warm-up has finished; of a ``NamedScorer``, whether its model is loaded."""
        return is_loaded(self.scorer) if hasattr(self.scorer, "loaded") else self._warm.is_set()

    def warmup(self, *, background: bool = False) -> None:
        """Run the model once, so that the first query doesn't pay for its initialisation.

        :param background: Return at once, and do it on a thread; ``ready`` says when it is done.
        """
        if background:
            warm_up_in_background(self.scorer, self._warm.set)
        else:
            warm_up(self.scorer)
            self._warm.set()

    def rerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        exclude: Results = (),
    ) -> Ranking:
        """Return every candidate, kept or dropped with a reason.

        :param query: The query.
        :param candidates: Texts or candidates, in the first stage's order where they have no ranks.
        :param selection: Replaces the reranker's selection for this call.
        :param call: Deadline and cancellation; None creates one with the reranker's ``deadline_ms``.
        :param exclude: Earlier results that are not to be kept again: a ranking, candidates, or ids.
        :raises InputError: If the query or a candidate has the wrong type.
        :raises ScoringError: If scoring failed and ``on_error`` is ``"raise"``.
        :raises ConfigurationError: If the selection has a minimum probability and the scorer's scale has none.
        """
        load_model(self.scorer)
        started = time.perf_counter()
        with self._observed(started, [query], selection):
            request, call = Request.of(query, as_candidates(candidates)), as_call(call, self.deadline_ms)
            selection, excluded = self.check(selection), as_excluded(exclude)
            (scoring,) = self._score([request], selection, call)
            ranking = self._ranking(request, scoring, selection, call, excluded)
        self._notify(started, query, ranking, selection)
        return ranking

    def rerank_many(
        self,
        requests: Iterable[tuple[str, Iterable[str | Candidate]]],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        pairs_at_once: int = 1024,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Ranking]:
        """Yield a ranking for each query with its candidates, in their order.

        Batches are filled across queries. Memory is bounded: of the requests, any iterable, only those are held that
        are scored together. ``deadline_ms`` doesn't apply. A model whose scores depend on the batch scores each query
        by itself.

        :param requests: Queries with candidates, as ``rerank`` takes them.
        :param selection: Replaces the reranker's selection.
        :param call: Cancellation, and a deadline for all of it.
        :param pairs_at_once: The minimum number of candidates that are scored together, of consecutive queries.
        :param progress: Called with the queries and the candidates that are done.
        :raises ConfigurationError: If ``pairs_at_once`` is below 1, or as ``rerank``.
        :raises InputError: As ``rerank``.
        :raises ScoringError: As ``rerank``.
        """
        if not isinstance(pairs_at_once, Integral) or pairs_at_once < 1:
            raise ConfigurationError(f"pairs_at_once must be a whole number from 1, got {pairs_at_once!r}")
        if progress is not None and not callable(progress):
            raise ConfigurationError(f"progress must be a function or None, got {progress!r:.80}")
        check_list(requests, "requests must be a list of queries with their candidates")
        selection, call = self.check(selection), as_call(call)
        most = pairs_at_once if self.scorer.spec.batch_invariant else 1
        queries = pairs = 0
        stream = (self._request(item, selection) for item in requests)
        for together in _grouped(stream, most, apart=not self.scorer.spec.pointwise):
            started = time.perf_counter()
            with self._observed(started, [request.query for request in together], selection):
                scorings = self._score(together, selection, call)
            took = time.perf_counter() - started
            for request, scoring in zip(together, scorings, strict=True):
                called = time.perf_counter() - took
                with self._observed(called, [request.query], selection):
                    ranking = self._ranking(request, scoring, selection, call)
                self._notify(called, request.query, ranking, selection)
                yield ranking
                queries, pairs = queries + 1, pairs + len(request.candidates)
            if progress:
                progress(queries, pairs)

    async def arerank(
        self,
        query: str,
        candidates: Iterable[str | Candidate],
        *,
        selection: Selection | None = None,
        call: Call | None = None,
        exclude: Results = (),
    ) -> Ranking:
        """Return what ``rerank`` returns, from one of the process's threads for such calls.

        When the task is cancelled, the call is: scoring stops after the batch in progress. Up to 32 calls run at once;
        one whose deadline passes while it waits for a thread never reaches the scorer.
        """
        if not is_loaded(self.scorer):
            await asyncio.to_thread(load_model, self.scorer)
        call = as_call(call, self.deadline_ms)
        work = partial(self.rerank, query, candidates, selection=selection, call=call, exclude=exclude)
        in_context = partial(copy_context().run, work)
        future = CALLS.submit(in_context)
        try:
            ranking = asyncio.wrap_future(future)
            done, _ = await asyncio.wait([ranking], timeout=call.remaining)
            if not done and CALLS.withdraw(future):
                future = LATE_CALLS.submit(in_context)
                ranking = asyncio.wrap_future(future)
            return await ranking
        except asyncio.CancelledError:
            call.cancel()
            CALLS.withdraw(future)
            raise

    def _score(self, requests: Sequence[Request], selection: Selection, call: Call) -> list[Scoring]:
        return score_requests(self.scorer_for(selection), requests, call, self.on_error)

    def scorer_for(self, selection: Selection) -> Scorer:
        """Return the scorer that a selection needs: with the policy ``"extract"`` one that scores small windows."""
        return for_extraction(self.scorer, _true_tokens(selection)) if selection.extracts else self.scorer

    def _request(self, given: tuple[str, Iterable[str | Candidate]], selection: Selection) -> Request:
        """Return one of several requests.

        :raises InputError: If it is no query with candidates.
        """
        query = given[0] if isinstance(given, Sequence) and given else None
        with self._observed(time.perf_counter(), [query], selection):
            if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
                raise InputError(f"a request must be a query with its candidates, got {given!r:.80}")
            return Request.of(query, as_candidates(given[1]))

    @contextmanager
    def _observed(self, started: float, queries: Sequence[object], selection: Selection | None) -> Iterator[None]:
        """Tell the observers of what is raised within, whatever it is, once for each query."""
        try:
            yield
        except BaseException as error:
            for query in queries:
                self._notify(started, query if isinstance(query, str) else "", error, selection)
            raise

    def _notify(self, started: float, query: str, result: Ranking | BaseException, selection: Selection | None) -> None:
        """Call the observers with the end of a call that began at ``started``."""
        if not self.observers:
            return
        settings = {
            "fusion": self.fusion,
            "deadline_ms": self.deadline_ms,
            "on_error": None if self.on_error == "degrade" else self.on_error,
        }
        used = selection if isinstance(selection, Selection) else self.selection
        name = self.scorer.spec.name
        event = CallEvent.ended(started, query, result, scorer=name, selection=used, reranking=settings)
        notify(self.observers, event)

    def _ranking(
        self,
        request: Request,
        scoring: Scoring,
        selection: Selection,
        call: Call,
        excluded: Sequence[Candidate | str] = (),
    ) -> Ranking:
        """Order the candidates, and select."""
        fitted = _fits(self.fusion, scoring.by)
        ranked, fuse_stage = self._rank(request, scoring, fitted=fitted)
        started = time.perf_counter()
        closer = self._closer(request.query, scoring, selection, call)
        selected = select(ranked, selection, excluded, closer)
        closely = closer.stages if closer else ()
        seconds = time.perf_counter() - started - sum(stage.seconds for stage in closely)
        stages = (*scoring.stages, *fuse_stage, *closely, Stage("select", seconds, selected.facts))
        return noted(
            Ranking(
                request.query,
                selected.kept,
                selected.dropped,
                selected.context,
                selected.tokens,
                stages,
                by=scoring.by,
                degraded=scoring.degraded,
                answerable=_answerable(selected, scoring.by),
                notes=(*scoring.notes, *(() if fitted else (FUSION_LEFT_OUT,)), *selected.notes),
            )
        )

    def _closer(self, query: str, scoring: Scoring, selection: Selection, call: Call) -> CloserReading | None:
        """Return what scores parts of a best candidate that doesn't fit the budget; None where that can't happen."""
        if scoring.by is None or selection.context_budget is None:
            return None
        size = partial(_closer_tokens, selection.context_budget)
        return CloserReading(self.scorer_for(selection), scoring.by, query, size, call)

    def _rank(self, request: Request, scoring: Scoring, *, fitted: bool) -> tuple[list[Ranked], tuple[Stage, ...]]:
        """Order candidates by fused or raw value, ties by first-stage rank; the unscored follow the scored."""
        started = time.perf_counter()
        fused = self._fuse(request, scoring.outcomes) if fitted else {}
        scale = scoring.by.scale if scoring.by else None
        ranked = [
            Ranked(
                candidate,
                index,
                scale.applied_to(outcome) if scale else outcome,
                scale.probability(outcome.value) if scale and isinstance(outcome, Score) else None,
                fused.get(index),
                request.ranks[index],
            )
            for index, (candidate, outcome) in enumerate(zip(request.candidates, scoring.outcomes, strict=True))
        ]
        ranked.sort(key=_sort_key)
        if self.fusion is None:
            return ranked, ()
        return ranked, (Stage("fuse", time.perf_counter() - started, {"rule": repr(self.fusion)}),)

    def _fuse(self, request: Request, outcomes: Sequence[Score | Unscored]) -> dict[int, float]:
        scores = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Score)}
        if self.fusion is None or not scores:
            return {}
        signals = {signal for candidate in request.candidates for signal in candidate.signals}
        inputs = [FusionInput(request.candidates[p], outcome.value, request.ranks[p]) for p, outcome in scores.items()]
        fused = self.fusion.fuse(inputs, signals)
        if not isinstance(fused, Sequence) or len(fused) != len(inputs) or not all(isinstance(v, Real) for v in fused):
            raise ConfigurationError(f"fuse must return a list of {len(inputs)} numbers, got {fused!r:.80}")
        return dict(zip(scores, fused, strict=True))


def _checked(given: Scorer | ListScorer) -> Scorer:
    scorer = as_scorer(given)
    if scorer is None or (is_loaded(scorer) and not isinstance(scorer.spec, Spec)):
        raise ConfigurationError(
            f"scorer must be a model's name, a folder, or an object with spec and score_pairs, got {given!r:.80}"
        )
    return scorer


def _checked_selection(selection: Selection) -> Selection:
    if not isinstance(selection, Selection):
        raise ConfigurationError(f"selection must be a Selection, such as Selection(top_n=3), got {selection!r:.80}")
    return selection


def _with_limits(selection: Selection, **limits: Any) -> Selection:
    """Return a selection with limits that were given beside it.

    :raises ConfigurationError: If one is given twice.
    """
    given = {name: value for name, value in limits.items() if value is not None}
    for name, value in given.items():
        if getattr(selection, name) is not None:
            raise ConfigurationError(f"{name} is given twice: {name}={value!r:.80}, and in selection=Selection(...)")
    return replace(selection, **given) if given else selection


def _check_fusion(fusion: Fusion | None, spec: Spec) -> None:
    """Refuse a rule that was fitted on another model.

    :raises ConfigurationError: If it was.
    """
    check = getattr(fusion, "check", None)
    if check is not None:
        check(spec.calibrated_as, spec.name)


def _fits(fusion: Fusion | None, by: Spec | None) -> bool:
    """Return whether a fusion rule is for the scorer that answered, such as the second one of a ``Fallback``."""
    return by is None or getattr(fusion, "fingerprint", by.calibrated_as) == by.calibrated_as


def _check_threshold(selection: Selection, spec: Spec) -> None:
    if selection.needs_probabilities and not spec.scale.has_probabilities:
        raise ConfigurationError(
            f"{selection.needs_probabilities} needs scores on a known scale, and that of {spec.name} is unknown: use "
            "top_n or a budget, or give the scorer a scale"
        )


def _true_tokens(selection: Selection) -> int | None:
    """Return about how many tokens of a model fit the budget: an estimate is half as much above the true count."""
    budget = selection.context_budget
    if budget is None:
        return None
    return budget.max_tokens if budget.counting.exact else 2 * budget.max_tokens // 3


def _closer_tokens(budget: ContextBudget, candidate: Candidate) -> int:
    """Return the most tokens of a window that is to fit the budget beside the candidate's header and its template."""
    frame = budget.render(1, candidate, candidate.reading[: candidate.header_length])
    left = max(0, budget.max_tokens - budget.counting.count(frame))
    return extract_tokens(min(left, max(24, left // 2)))  # below 24 there is hardly a whole sentence


def _sort_key(item: Ranked) -> tuple[bool, float, float, int]:
    place = item.outcome.fallback_rank if isinstance(item.outcome, Unscored) else None
    value = item.value
    return value is None, -(value or 0.0), math.inf if place is None else place, item.rank_before


def _answerable(selected: Selected, by: Spec | None) -> float | None:
    """Return the probability that the kept candidates hold the answer, from their scores and the others'."""
    scores = [item.score for item in selected.kept]
    kept = [score for score in scores if score is not None]
    if by is None or by.answerability is None or len(kept) < len(scores):
        return None
    dropped = [item.score for item in selected.dropped if item.score is not None]
    return by.answerability.probability(*([by.scale.log_odds(value) for value in side] for side in (kept, dropped)))


def _grouped(requests: Iterable[Request], pairs: int, *, apart: bool) -> Iterator[list[Request]]:
    """Yield consecutive requests with a minimum number of candidates together; the last ones may have fewer.

    :param apart: Whether a query that comes again begins another group: its candidates aren't to compete with those
        of the first.
    """
    together: list[Request] = []
    count = 0
    for request in requests:
        if apart and any(request.query == other.query for other in together):
            yield together
            together, count = [], 0
        together.append(request)
        count += len(request.candidates)
        if count >= pairs:
            yield together
            together, count = [], 0
    if together:
        yield together

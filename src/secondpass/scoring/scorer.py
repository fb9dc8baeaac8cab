"""The scorer protocol, and a base class for scorers."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, Protocol, Self, cast, runtime_checkable

from secondpass.errors import ConfigurationError, InputError, ScoringError, check_list
from secondpass.processes import LoadingThread
from secondpass.records import (
    Call,
    Note,
    Pair,
    Scale,
    ScaleKind,
    Score,
    Scored,
    Spec,
    Stage,
    Unscored,
    UnscoredReason,
    as_call,
)

_ENDED_EARLY = {UnscoredReason.DEADLINE, UnscoredReason.CANCELLED, UnscoredReason.LOADING}
_NO_VALUE = {UnscoredReason.INVALID, UnscoredReason.FAILED}


@runtime_checkable
class Scorer(Protocol):
    """Scores pairs of query and text. Must be safe to call from several threads.

    All outcomes of a call are on one scale. Pairs of one query may compete (``Spec.pointwise`` is then False),
    pairs of different queries never do.

    A scorer may also have ``warmup()``, ``release()`` and ``count_tokens(texts)``, and one that loads its model on
    first use ``load()`` and ``loaded``; they are called where they exist.
    """

    @property
    def spec(self) -> Spec:
        """The scorer's specification."""
        ...

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :param pairs: The pairs.
        :param call: Deadline and cancellation; pairs not scored in time are ``Unscored``.
        :raises ScoringError: If scoring failed. Any other exception counts as a programming error and is not handled.
        """
        ...


@runtime_checkable
class ListScorer(Protocol):
    """Scores all texts of a query together, in one context. Must be safe to call from several threads.

    A ``Reranker``, the integrations and composed scorers take it wherever they take a ``Scorer``.
    """

    @property
    def spec(self) -> Spec:
        """The scorer's specification."""
        ...

    def score_list(self, query: str, texts: Sequence[str], *, call: Call | None = None) -> Scored:
        """Return one outcome for each text, in their order.

        :param query: The query.
        :param texts: All texts that compete.
        :param call: Deadline and cancellation; texts not scored in time are ``Unscored``.
        :raises ScoringError: If scoring failed.
        """
        ...


class BaseScorer:
    """Base class of the scorers of this package."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """See ``Scorer``."""
        raise NotImplementedError

    def score(self, query: str, texts: Sequence[str], *, call: Call | None = None) -> list[Score | Unscored]:
        """Return one outcome for each text, in their order.

        :param query: The query.
        :param texts: The texts.
        :param call: Deadline and cancellation.
        :raises InputError: If the query or a text isn't a string.
        :raises ScoringError: If scoring failed.
        """
        check_list(texts, "texts must be a list of strings")
        for name, value in [("the query", query), *((f"text {i}", text) for i, text in enumerate(texts))]:
            if not isinstance(value, str):
                raise InputError(f"{name} must be a string, got {type(value).__name__}")
        return list(self.score_pairs([Pair(query, text) for text in texts], call=as_call(call)).outcomes)


class ComposedScorer(BaseScorer):
    """Base class of scorers around others. Copies share these: frameworks copy their components, and models are large.

    :param scorers: The scorers inside.
    :param needs: What must hold, for the error.
    :param least: How many there must be.
    :raises ConfigurationError: If there are fewer, or one is no scorer.
    """

    def __init__(self, scorers: Sequence[Scorer], needs: str, least: int = 1) -> None:
        self.scorers = tuple(scorer for item in scorers if (scorer := as_scorer(item)))
        if not least <= len(self.scorers) == len(scorers):
            named = next((f": load_scorer({item!r:.60}) is a scorer" for item in scorers if isinstance(item, str)), "")
            raise ConfigurationError(f"{needs}; got {list(scorers)!r:.120}{named}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the scorer and what it holds."""
        return self

    @property
    def loaded(self) -> bool:
        """Whether the models of all scorers are loaded."""
        return all(map(is_loaded, self.scorers))

    def load(self) -> None:
        """Load the models of all scorers."""
        for scorer in self.scorers:
            load_model(scorer)

    def warmup_in_background(self) -> None:
        """Warm up every scorer on threads."""
        for scorer in self.scorers:
            warm_up_in_background(scorer)

    def warmup(self) -> None:
        """Warm up every scorer."""
        for scorer in self.scorers:
            warm_up(scorer)

    def release(self) -> None:
        """Free the memory of every scorer."""
        for scorer in self.scorers:
            release_memory(scorer)


class Listwise(BaseScorer):
    """A listwise scorer as a ``Scorer``: ``score_list`` is called once for each query, with all of its texts.

    :param scorer: The listwise scorer.
    """

    def __init__(self, scorer: ListScorer) -> None:
        self.scorer = scorer

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the scorer."""
        return self

    @property
    def spec(self) -> Spec:
        """The scorer's specification; texts of one query compete."""
        return replace(self.scorer.spec, pointwise=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """See ``Scorer``.

        :raises ScoringError: If scoring failed, or there is not one outcome for each text.
        """
        call = as_call(call)
        outcomes: list[Score | Unscored] = [Unscored(UnscoredReason.FAILED)] * len(pairs)
        by = self.spec
        stages: tuple[Stage, ...] = ()
        notes: tuple[Note, ...] = ()
        for positions in by_query(pairs):
            stopped = call.stop_reason()
            texts = [pairs[position].text for position in positions]
            own: Sequence[Score | Unscored] = [Unscored(stopped)] * len(texts) if stopped else ()
            if not stopped:
                scored = _checked(self.scorer.score_list(pairs[positions[0]].query, texts, call=call), "score_list")
                own, by, stages = scored.outcomes, replace(scored.by, pointwise=False), (*stages, *scored.stages)
                notes = (*notes, *scored.notes)
            if len(own) != len(texts):
                raise ScoringError(f"{by.name} was given {len(texts)} texts and returned {len(own)} outcomes")
            for position, outcome in zip(positions, own, strict=True):
                outcomes[position] = outcome
        return Scored(tuple(outcomes), by, stages, notes)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return count_tokens(self.scorer, texts)

    def warmup(self) -> None:
        """Warm up the scorer."""
        warm_up(self.scorer)

    def release(self) -> None:
        """Free the scorer's memory."""
        release_memory(self.scorer)


def as_scorer(given: object) -> Scorer | None:
    """Return a ``Scorer`` or a ``ListScorer`` as a ``Scorer``, and None for anything else."""
    if isinstance(given, BaseScorer):
        return cast("Scorer", given)  # without asking for its spec, as the protocol does: that may load a model
    if isinstance(given, type):
        return None
    return Listwise(given) if isinstance(given, ListScorer) else given if isinstance(given, Scorer) else None


def score_checked(scorer: Scorer, pairs: Sequence[Pair], call: Call | None) -> Scored:
    """Score pairs, and check the result; a score that isn't finite becomes ``INVALID``.

    A call that is over never reaches the scorer.

    :raises ScoringError: If scoring failed, or there is not one outcome for each pair.
    :raises ConfigurationError: If the scorer didn't return a ``Scored``.
    """
    stopped = call.stop_reason() if call else None
    if stopped:
        return Scored((Unscored(stopped),) * len(pairs), scorer.spec)
    scored = _checked(scorer.score_pairs(pairs, call=call), "score_pairs")
    if len(scored.outcomes) != len(pairs):
        raise ScoringError(
            f"{scored.by.name} was given {len(pairs)} pairs and returned {len(scored.outcomes)} outcomes"
        )
    return replace(scored, outcomes=tuple(map(_finite, scored.outcomes)))


def _checked(scored: object, method: str) -> Scored:
    """Return what a scorer's method returned.

    :raises ConfigurationError: If it isn't a ``Scored`` of outcomes.
    """
    if isinstance(scored, Scored) and isinstance(scored.by, Spec):
        lists = (scored.outcomes, scored.stages, scored.notes)
        if all(isinstance(one, Sequence) for one in lists) and all(map(_is_outcome, scored.outcomes)):
            return scored
    raise ConfigurationError(
        f"{method} must return Scored(outcomes, spec) with a Score or Unscored for each text, got {scored!r:.80}"
    )


def _is_outcome(outcome: object) -> bool:
    return isinstance(outcome, Score) or (isinstance(outcome, Unscored) and isinstance(outcome.reason, UnscoredReason))


def _finite(outcome: Score | Unscored) -> Score | Unscored:
    """Return an outcome whose value is one of Python's floats, or unscored for NaN and infinity.

    :raises ConfigurationError: If the value isn't a number.
    """
    if isinstance(outcome, Unscored):
        return outcome
    try:
        value = float(outcome.value)
    except OverflowError:
        value = math.inf
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"a Score's value must be a number, got {outcome.value!r:.80}") from error
    if not math.isfinite(value):
        return Unscored(UnscoredReason.INVALID, f"the scorer gave {value}")
    return outcome if type(outcome.value) is float else replace(outcome, value=value)


def has_score(outcomes: Sequence[Score | Unscored]) -> bool:
    """Return whether a pair has a score."""
    return any(isinstance(outcome, Score) for outcome in outcomes)


def gave_no_value(outcomes: Sequence[Score | Unscored]) -> bool:
    """Return whether the scorer failed: no pair has a score, although the call didn't end before it could have one."""
    reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, Unscored)}
    return not has_score(outcomes) and bool(reasons & _NO_VALUE) and not reasons & _ENDED_EARLY


def count_tokens(scorer: Scorer | ListScorer, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text as the scorer counts them; if it doesn't, three bytes are one."""
    count = getattr(scorer, "count_tokens", None)
    return list(count(texts)) if count else [-(-len(text.encode("utf-8", "replace")) // 3) for text in texts]


def warm_up(scorer: Scorer | ListScorer) -> None:
    """Load the scorer's model and run it once, if the scorer has a ``warmup`` method."""
    warmup = getattr(scorer, "warmup", None)
    if warmup is not None:
        warmup()


def warm_up_in_background(scorer: Scorer | ListScorer, done: Callable[[], object] = lambda: None) -> None:
    """Do what ``warm_up`` does on a thread, and return at once; a scorer's ``warmup_in_background`` does it itself.

    :param done: Called when it is done.
    """
    begin = getattr(scorer, "warmup_in_background", None)
    if begin is None:

        def warm() -> None:
            warm_up(scorer)
            done()

        LoadingThread(warm).start()
    else:
        begin()


def load_model(scorer: Scorer | ListScorer) -> None:
    """Load the scorer's model, if the scorer has a ``load`` method: it loads it on first use otherwise."""
    load = getattr(scorer, "load", None)
    if load is not None:
        load()


def is_loaded(scorer: Scorer | ListScorer) -> bool:
    """Return whether the scorer's model is loaded; only one that loads on first use has the property ``loaded``."""
    return bool(getattr(scorer, "loaded", True))


def release_memory(scorer: Scorer | ListScorer) -> None:
    """Free the memory of the scorer's model, if the scorer has a ``release`` method."""
    release = getattr(scorer, "release", None)
    if release is not None:
        release()


def by_query(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the positions of each query's pairs, in their order."""
    groups: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        groups.setdefault(pair.query, []).append(position)
    return list(groups.values())


def refuse_pickling(what: str) -> NoReturn:
    """Say that an object can't go to another process.

    :param what: The object, with its article.
    :raises ConfigurationError: Always.
    """
    raise ConfigurationError(
        f"{what} can't be pickled: pickle the settings (a model's name, a path), and make it in the other process"
    )


_WORDS = re.compile(r"\w+")
_SHARE_OF_WORDS = Scale(ScaleKind.BOUNDED, 0.0, 1.0, declared="share of the query's words")


class OverlapScorer(BaseScorer):
    """Scores a text by the share of the query's words that it contains, from 0 to 1: no model, for tests."""

    @property
    def spec(self) -> Spec:
        """The scorer's specification."""
        return Spec("overlap", _SHARE_OF_WORDS, fingerprint="overlap-1")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair; after the call's deadline or cancellation the rest stays unscored."""
        return Scored(tuple(_overlap(pair, call) for pair in pairs), self.spec)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words of each text."""
        return [len(_WORDS.findall(text)) for text in texts]


def _overlap(pair: Pair, call: Call | None) -> Score | Unscored:
    reason = call.stop_reason() if call else None
    if reason:
        return Unscored(reason)
    query_words = set(_WORDS.findall(pair.query.casefold()))
    shared = query_words.intersection(_WORDS.findall(pair.text.casefold()))
    return Score(len(shared) / len(query_words) if query_words else 0.0)

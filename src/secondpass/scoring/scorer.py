"""The scorer protocol, and a base class for scorers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from secondpass.call import Call
from secondpass.errors import InputError
from secondpass.scores import Pair, Score, Scored, Spec, Unscored


@runtime_checkable
class Scorer(Protocol):
    """Scores pairs of query and text. Must be safe to call from several threads.

    A scorer may also have ``warmup()``, ``release()`` and ``count_tokens(texts)``; they are called where they exist.
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
        if isinstance(texts, str):
            raise InputError(f"texts must be a list of strings, got one string: {texts!r:.80}")
        for name, value in [("the query", query), *((f"text {i}", text) for i, text in enumerate(texts))]:
            if not isinstance(value, str):
                raise InputError(f"{name} must be a string, got {type(value).__name__}")
        return list(self.score_pairs([Pair(query, text) for text in texts], call=call).outcomes)


def warm_up(scorer: Scorer) -> None:
    """Load the scorer's model and run it once, if the scorer has a ``warmup`` method."""
    warmup = getattr(scorer, "warmup", None)
    if warmup is not None:
        warmup()


def release_memory(scorer: Scorer) -> None:
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

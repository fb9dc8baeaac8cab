"""The first seam: whatever can score a pair."""

from collections.abc import Sequence
from typing import Protocol

from secondpass.errors import InputError
from secondpass.scores import Call, Pair, Score, Scored, Spec, Unscored


class Scorer(Protocol):
    """What the reranker needs of a scorer. Safe to call from several threads.

    A scorer that breaks down raises ``ScoringError``, with the foreign exception as its cause; any other exception
    is taken for a mistake in the program and goes through to the caller.
    """

    @property
    def spec(self) -> Spec:
        """What is known of the scorer."""
        ...

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If the scorer broke down.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens as the model makes them, special tokens left out."""
        ...

    def warmup(self) -> None:
        """Do now what the first call would otherwise wait for."""
        ...

    def release(self) -> None:
        """Give the memory back; the next call takes it again."""
        ...


class BaseScorer:
    """What scorers have in common: the call that people type, and nothing to warm up or to release."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """See ``Scorer``."""
        raise NotImplementedError

    def score(self, query: str, texts: Sequence[str], *, call: Call | None = None) -> list[Score | Unscored]:
        """Return one outcome for each text, in their order.

        :raises InputError: If the query or a text isn't a string.
        """
        if isinstance(texts, str):
            raise InputError(f"texts must be a list of strings, got one string: {texts!r:.80}")
        for name, value in [("the query", query), *((f"text {i}", text) for i, text in enumerate(texts))]:
            if not isinstance(value, str):
                raise InputError(f"{name} must be a string, got {type(value).__name__}")
        return list(self.score_pairs([Pair(query, text) for text in texts], call=call).outcomes)

    def warmup(self) -> None:
        """Nothing to warm up."""

    def release(self) -> None:
        """Nothing to release."""

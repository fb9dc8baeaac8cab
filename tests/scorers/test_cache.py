"""The score cache: what is scored again, which scores are kept, and for which scorers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Failing, Scripted

from secondpass import Call, OverlapScorer
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.records import Pair, Score, Scored, Spec, Unscored, UnscoredReason, Window
from secondpass.scorers.cached import Cached, _key
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.windows import Windowed, Windows

PAIRS = [Pair("query", "a"), Pair("query", "b"), Pair("query", "a")]
SCRIPT = {"a": Score(1.25, truncated=3), "b": -0.1}


def cached(**settings: int) -> tuple[Cached, Scripted]:
    """Return a cache and the scorer in it."""
    scorer = Scripted(SCRIPT)
    return Cached(scorer, **settings), scorer


def test_a_pair_is_scored_once() -> None:
    """Equal pairs of a call are scored once, and not again in the next call; the outcomes are those of the scorer."""
    cache, scorer = cached()
    for _ in range(2):
        assert cache.score_pairs(PAIRS).outcomes == (Score(1.25, 3), Score(-0.1), Score(1.25, 3))
    assert scorer.asked == PAIRS[:2]


def test_another_header_is_another_pair() -> None:
    """What is repeated before each window decides a score, too."""
    cache, scorer = cached()
    pairs = [Pair("query", "a"), Pair("query", "a", header=1)]
    cache.score_pairs(pairs)
    assert scorer.asked == pairs


def test_hits_and_misses_are_in_the_report() -> None:
    """The stage says how many pairs were known."""
    cache, _ = cached()
    cache.score_pairs(PAIRS[:1])
    assert cache.score_pairs(PAIRS).stages[0].facts == {"hits": 2, "misses": 1, "hits_on_disk": 0}


def test_what_has_no_score_is_not_kept() -> None:
    """A pair that a deadline left unscored is scored the next time."""
    scorer = Scripted({"a": Unscored(UnscoredReason.DEADLINE)})
    cache = Cached(scorer)
    cache.score_pairs(PAIRS[:1])
    cache.score_pairs(PAIRS[:1])
    assert scorer.asked == PAIRS[:1] * 2


def test_a_text_that_no_scorer_can_score_costs_the_known_scores_nothing() -> None:
    """The same call twice gives the same outcomes, also where a fallback is left with the text that fails alone."""
    script = {"a": Score(1.25), "b": Unscored(UnscoredReason.INVALID)}
    cache = Cached(Fallback(Scripted(script), Scripted(script)))
    assert [cache.score_pairs(PAIRS).outcomes for _ in range(2)] == [(script["a"], script["b"], script["a"])] * 2


@pytest.mark.parametrize(
    "score", [Score(1, partial=True), Score(np.float32("nan")), Score(1, windows=(Window(0, 1, np.inf),))]
)
def test_a_score_that_another_call_may_improve_is_not_kept(score: Score, tmp_path: Path) -> None:
    """A text of which a deadline left windows unscored, or without a finite value, is scored the next time."""
    for _ in range(2):
        scorer = Scripted({"a": score, "b": 2.0})
        cache = Cached(scorer, tmp_path / "scores.db")
        cache.score_pairs(PAIRS[:2])
        cache.score_pairs(PAIRS[:2])
        assert [pair.text for pair in scorer.asked].count("a") == 2
    assert scorer.asked == PAIRS[:1] * 2


class CutShort(Scripted):
    """Cancels the call after the first text."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        scored = super().score_pairs(pairs)
        if call:
            call.cancel()
            return replace(scored, outcomes=(scored.outcomes[0], Unscored(UnscoredReason.CANCELLED)))
        return scored


def test_a_call_that_was_stopped_keeps_what_it_has() -> None:
    """Scores from before a cancellation are complete, and known in the next call."""
    scorer = CutShort(SCRIPT)
    cache = Cached(scorer)
    cache.score_pairs(PAIRS[:2], call=Call())
    assert cache.score_pairs(PAIRS).outcomes == (Score(1.25, 3), Score(-0.1), Score(1.25, 3))
    assert scorer.asked == [*PAIRS[:2], PAIRS[1]]


class BatchDependent(Scripted):
    """A scorer whose scores depend on the batch."""

    @property
    def spec(self) -> Spec:
        return Spec("dynamic", super().spec.scale, "dynamic", batch_invariant=False)


def test_scores_that_depend_on_the_batch_are_cached_on_request_alone() -> None:
    """A cached score would be one of several that the model gives for the pair."""
    with pytest.raises(ConfigurationError, match="allow_batch_dependent=True"):
        Cached(BatchDependent({}))
    assert Cached(BatchDependent({}), allow_batch_dependent=True)


class Competing(Scripted):
    """A scorer that leaves out the worst pair of each call."""

    @property
    def spec(self) -> Spec:
        return replace(super().spec, pointwise=False)


@pytest.mark.parametrize("allow_batch_dependent", [False, True])
def test_a_scorer_whose_pairs_compete_is_refused(allow_batch_dependent: bool) -> None:
    """What it left out of one call isn't known to be left out of another; no setting lifts that."""
    with pytest.raises(ConfigurationError, match=r"pairs compete: put Cached around the scorers inside"):
        Cached(Competing({}), allow_batch_dependent=allow_batch_dependent)


TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=4)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=2, unique=True))
def test_different_parts_have_different_keys(parts: list[tuple[str, str, str]]) -> None:
    """Moving characters between fingerprint, query and text changes the key."""
    one, other = (_key(fingerprint, Pair(query, text)) for fingerprint, query, text in parts)
    assert one != other


def test_the_memory_is_bounded() -> None:
    """Of more scores than ``max_entries`` the last used stay in memory."""
    cache, scorer = cached(max_entries=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cache.score_pairs([Pair("query", text)])
    assert [pair.text for pair in scorer.asked] == ["a", "b", "c", "b"]


class OtherScale(Scripted):
    """A scorer with another fingerprint."""

    @property
    def spec(self) -> Spec:
        return Spec("other", super().spec.scale, "other")


class FailsLater(Scripted):
    """Answers once."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        if self.asked:
            raise ScoringError("broken")
        return super().score_pairs(pairs)


def test_cached_scores_are_never_mixed_with_another_scorers() -> None:
    """Where a fallback in the cache answers by its second scorer, that scores all pairs, and nothing is kept."""
    cache = Cached(Fallback(FailsLater({"a": 1.0}), OtherScale({"a": 7.0, "b": 8.0})))
    cache.score_pairs(PAIRS[:1])
    scored = cache.score_pairs(PAIRS)
    assert [outcome.value for outcome in scored.outcomes if isinstance(outcome, Score)] == [7.0, 8.0, 7.0]
    assert scored.by.name == "other"


def test_each_repeated_pair_has_the_outcome_of_another_scorer() -> None:
    """Where the second scorer of a fallback answers a call with a repeated pair, it is asked once for both."""
    other = OtherScale({"a": 7.0, "b": 8.0})
    scored = Cached(Fallback(Failing(), other)).score_pairs(PAIRS)
    assert scored.outcomes == (Score(7.0), Score(8.0), Score(7.0))
    assert (scored.by.name, other.asked) == ("other", PAIRS[:2])


class Exchanged(Scripted):
    """A scorer whose model is exchanged while it scores, so that the values of a call are the new one's."""

    model = 1

    @property
    def spec(self) -> Spec:
        return replace(super().spec, fingerprint=f"model {self.model}")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.model += 1
        self.script = dict.fromkeys("ab", float(self.model))
        return super().score_pairs(pairs)


def test_scores_are_kept_for_the_scorer_that_gave_them() -> None:
    """Values of a new model are not those of the old one, whose name the scorer had when the call began."""
    scorer = Exchanged({})
    cache = Cached(scorer)
    assert cache.score_pairs(PAIRS).outcomes == (Score(2.0),) * 3
    scorer.model = 1
    assert cache.score_pairs(PAIRS).stages[0].facts["misses"] == 2


class Changing(Scripted):
    """A scorer that has another fingerprint each time it is asked for its specification."""

    reads = 0

    @property
    def spec(self) -> Spec:
        self.reads += 1
        return replace(super().spec, fingerprint=f"read {self.reads}")


def test_the_specification_is_read_once_a_call() -> None:
    """All keys of a call are made with one fingerprint, and what answers with another one isn't kept."""
    scorer = Changing(SCRIPT)
    cache = Cached(scorer)
    before = scorer.reads
    cache.score_pairs(PAIRS)
    assert scorer.reads - before == 2  # the cache's, and that of the scorer itself, which says who answered
    assert cache.score_pairs(PAIRS).outcomes == (Score(1.25, 3), Score(-0.1), Score(1.25, 3))


class ForgetsOne(Scripted):
    """Returns an outcome too few."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        return super().score_pairs(pairs[1:])


def test_a_scorer_that_forgets_a_pair_has_failed() -> None:
    """As without a cache, that is a ``ScoringError``."""
    with pytest.raises(ScoringError, match="was given 2 pairs and returned 1 outcomes"):
        Cached(ForgetsOne(SCRIPT)).score_pairs(PAIRS)


def test_a_failing_scorer_raises_through_the_cache() -> None:
    """What isn't known can't be answered."""
    with pytest.raises(ScoringError):
        Cached(Failing(ScoringError("broken"))).score_pairs(PAIRS)


def test_windows_of_a_long_text_are_kept(tmp_path: Path) -> None:
    """A cache around ``Windowed`` returns each window with its span and value, also from disk."""
    text = "A flea lives long. " * 30
    windowed = Windowed(OverlapScorer(), Windows(max_tokens=40))
    first = Cached(windowed, tmp_path / "scores.db").score("how long does a flea live", [text])
    again = Cached(windowed, tmp_path / "scores.db").score("how long does a flea live", [text])
    assert first == again
    assert isinstance(again[0], Score)
    assert len(again[0].windows) > 1

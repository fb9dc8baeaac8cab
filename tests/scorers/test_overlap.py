"""The scorer without a model: the share of shared words."""

import pytest

from secondpass import Call, OverlapScorer
from secondpass.records import Pair, ScaleKind, Score, Unscored, UnscoredReason


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("red fox", 1.0),
        ("a red car", 0.5),
        ("a blue car", 0.0),
        ("RED, Fox!", 1.0),
        ("redfox", 0.0),
        ("red red red", 0.5),
        ("", 0.0),
    ],
)
def test_score_is_the_share_of_the_querys_words(text: str, value: float) -> None:
    """A text's score is the share of the query's words that it contains, regardless of case and repetition."""
    assert OverlapScorer().score("red fox", [text]) == [Score(value)]


def test_a_query_without_words_gives_zero() -> None:
    """For a query of punctuation alone every text scores 0."""
    assert OverlapScorer().score("?!", ["red fox"]) == [Score(0.0)]


def test_values_are_bounded() -> None:
    """The scale is bounded from 0 to 1, and no probability."""
    scale = OverlapScorer().spec.scale
    assert (scale.kind, scale.low, scale.high) == (ScaleKind.BOUNDED, 0.0, 1.0)


def test_pairs_after_the_deadline_are_unscored() -> None:
    """After the deadline or a cancellation, pairs are unscored with that reason."""
    cancelled = Call()
    cancelled.cancel()
    for call, reason in ((Call(deadline_ms=0), UnscoredReason.DEADLINE), (cancelled, UnscoredReason.CANCELLED)):
        assert OverlapScorer().score_pairs([Pair("red", "red")], call=call).outcomes == (Unscored(reason),)


def test_tokens_are_words() -> None:
    """``count_tokens`` counts words."""
    assert OverlapScorer().count_tokens(["the red fox", "", "one, two"]) == [3, 0, 2]

"""The scorer without a model: shared words."""

import pytest

from secondpass import Call, OverlapScorer
from secondpass.errors import InputError
from secondpass.scores import Pair, ScaleKind, Score, Unscored, UnscoredReason


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
def test_the_share_of_the_questions_words(text: str, value: float) -> None:
    """A text is worth the share of the question's words that it holds, whatever their case and number."""
    assert OverlapScorer().score("red fox", [text]) == [Score(value)]


def test_a_question_without_words_is_worth_nothing() -> None:
    """Marks alone are no words to share."""
    assert OverlapScorer().score("?!", ["red fox"]) == [Score(0.0)]


def test_values_are_bounded() -> None:
    """The scale says 0 to 1, and doesn't call it a probability."""
    scale = OverlapScorer().spec.scale
    assert (scale.kind, scale.low, scale.high) == (ScaleKind.BOUNDED, 0.0, 1.0)


def test_a_call_that_is_over_leaves_pairs_unscored() -> None:
    """After the deadline nothing is scored any more."""
    scored = OverlapScorer().score_pairs([Pair("red", "red")], call=Call(deadline_ms=0))
    assert scored.outcomes == (Unscored(UnscoredReason.DEADLINE),)


def test_tokens_are_words() -> None:
    """What the scorer counts is what it reads."""
    assert OverlapScorer().count_tokens(["the red fox", "", "one, two"]) == [3, 0, 2]


@pytest.mark.parametrize(
    ("query", "texts", "said"),
    [
        (None, ["a"], "the query must be a string, got NoneType"),
        ("a", ["a", 3], "text 1 must be a string, got int"),
        ("a", "a text", "must be a list of strings, got one string"),
    ],
    ids=["query", "text", "one string"],
)
def test_what_people_type_is_checked(query: str, texts: list[str], said: str) -> None:
    """``score`` names what isn't a string."""
    with pytest.raises(InputError, match=said):
        OverlapScorer().score(query, texts)


def test_there_is_nothing_to_warm_up_or_release() -> None:
    """A scorer without a model answers the same after both."""
    scorer = OverlapScorer()
    scorer.warmup()
    scorer.release()
    assert scorer.score("red", ["red"]) == [Score(1.0)]

"""Windowed scoring: which windows a text has, which of them are scored, and what becomes of their values."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_text, sentences
from worlds import Failing, Scripted, count_words

from secondpass import (
    Call,
    Candidate,
    OverlapScorer,
    Pair,
    Reranker,
    Score,
    Scored,
    Unscored,
    UnscoredReason,
    Windowed,
    Windows,
)
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.records import LOGIT, Scale, ScaleKind, Spec
from secondpass.scorers.cached import Cached
from secondpass.scorers.cascade import Cascade
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.scorer import BaseScorer
from secondpass.scoring.window_cutting import cut_windows

STORY = "The fox ran. The owl sat. The hen hid. The cat ate. The dog dug. The elk hid. "  # six sentences of 3 words


def count(texts: Sequence[str]) -> list[int]:
    """Count words, as a scorer's ``count_tokens`` does."""
    return [count_words(text) for text in texts]


class Short(OverlapScorer):
    """Shares of the query's words, by a model that reads so many words, with the windows that it was given.

    :param max_tokens: How many.
    :param most: After so many pairs it stops for the call's deadline.
    """

    def __init__(self, max_tokens: int | None = 24, most: int = 1_000) -> None:
        self.max_tokens = max_tokens
        self.most = most
        self.texts: list[str] = []
        self.released = 0

    @property
    def spec(self) -> Spec:
        return Spec("short", super().spec.scale, "short-1", self.max_tokens)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.texts += [pair.text for pair in pairs]
        outcomes = super().score_pairs(pairs).outcomes[: self.most]
        late = [Unscored(UnscoredReason.DEADLINE)] * (len(pairs) - len(outcomes))
        return Scored((*outcomes, *late), self.spec)

    def release(self) -> None:
        self.released += 1


def windows_of(outcome: Score | Unscored, text: str) -> list[str]:
    """Return the texts of an outcome's windows."""
    assert isinstance(outcome, Score)
    return [text[window.start : window.end].strip() for window in outcome.windows]


def score(scorer: BaseScorer, query: str, text: str) -> Score:
    """Return the score of one pair."""
    (outcome,) = scorer.score(query, [text])
    assert isinstance(outcome, Score)
    return outcome


@given(text=st.one_of(sentences, any_text), limit=st.integers(1, 12), overlap=st.floats(0, 0.5))
def test_windows_cover_a_text_and_fit(text: str, limit: int, overlap: float) -> None:
    """Windows go from the first character to the last without a gap, each begins behind the one before, and fits."""
    spans, tokens = cut_windows(text, limit, overlap, count)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    pairs = pairwise(spans)
    assert all(before[0] < after[0] <= before[1] < after[1] for before, after in pairs)
    assert all(count_words(text[start:end]) <= limit for start, end in spans)
    assert len(spans) == len(tokens)


@given(text=sentences, limit=st.integers(3, 12))
def test_without_overlap_windows_add_up_to_the_text(text: str, limit: int) -> None:
    """Without an overlap each window begins where the one before ends."""
    spans, _ = cut_windows(text, limit, 0.0, count)
    assert "".join(text[start:end] for start, end in spans) == text


def test_windows_end_with_sentences_and_are_of_equal_size() -> None:
    """A text of six sentences for which two windows suffice is cut in the middle."""
    spans, _ = cut_windows(STORY, 12, 0.0, count)
    assert [STORY[a:b] for a, b in spans] == [
        "The fox ran. The owl sat. The hen hid. ",
        "The cat ate. The dog dug. The elk hid. ",
    ]


def test_windows_overlap_by_whole_sentences() -> None:
    """A third of a window of three sentences is one sentence, which the next window repeats."""
    spans, _ = cut_windows(STORY, 9, 0.34, count)
    sentences = [STORY[a:b].strip(". ").split(". ") for a, b in spans]
    assert [(len(window), window[0]) for window in sentences] == [
        (2, "The fox ran"),
        (3, "The owl sat"),
        (3, "The cat ate"),
    ]


def test_a_sentence_that_is_too_long_is_cut_between_words() -> None:
    """A sentence of 40 words is halved until its parts fit, and no word is cut."""
    text = " ".join(f"word{number}" for number in range(40))
    spans, _ = cut_windows(text, 8, 0.0, count)
    assert [word for a, b in spans for word in text[a:b].split()] == text.split()


def test_a_text_that_fits_is_scored_as_it_is() -> None:
    """A short text has one window, and the inner scorer's own score."""
    scorer = Short()
    outcome = score(Windowed(scorer), "red fox", " the red fox\n")
    assert (outcome.value, scorer.texts) == (1.0, [" the red fox\n"])
    assert windows_of(outcome, " the red fox\n") == ["the red fox"]


def test_the_models_limit_less_the_query_sizes_the_windows() -> None:
    """A model of 24 words, with a query of 2 and 4 special tokens, is given windows of at most 18."""
    scorer = Short(24)
    Windowed(scorer).score("red fox", [STORY * 5])
    assert 12 < max(map(count_words, scorer.texts)) <= 18


def test_a_query_longer_than_the_model_reads_leaves_it_half() -> None:
    """Windows never become so small that a long text has hundreds: such a query is cut."""
    scorer = Short(24)
    Windowed(scorer).score("fox " * 60, [STORY])
    assert max(map(count_words, scorer.texts)) == 6


def test_a_scorer_without_a_limit_reads_the_whole_text() -> None:
    """Nothing is cut where neither the model nor the setting has a limit."""
    scorer = Short(None)
    Windowed(scorer).score("fox", [STORY * 9])
    assert scorer.texts == [STORY * 9]


def test_without_count_tokens_three_bytes_are_a_token() -> None:
    """A scorer that can't count its tokens gets windows by the length of the text."""
    scorer = Scripted({})
    scorer.count_tokens = None  # type: ignore[method-assign,assignment]
    Windowed(scorer, Windows(8)).score("fox", [STORY])
    assert max(len(pair.text) for pair in scorer.asked) <= 24


@pytest.mark.parametrize(
    ("pooling", "expected"), [("max", 1.0), ("first", 0.5), ("mean", (1.0 + 0.5) / 2)], ids=["max", "first", "mean"]
)
def test_pooling(pooling: str, expected: float) -> None:
    """The best window's value counts, or the first one's, or the mean of the best ones."""
    text = "A red hen. A dog. A red fox. "
    windowed = Windowed(Short(None), Windows(8, pooling=pooling, mean_of=2))  # type: ignore[arg-type]
    windowed.count_tokens = lambda texts: [2 * count_words(text) for text in texts]  # type: ignore[method-assign]
    outcome = score(windowed, "red fox", text)
    assert windows_of(outcome, text) == ["A red hen.", "A dog.", "A red fox."]
    assert outcome.value == pytest.approx(expected)


def test_each_window_has_its_value() -> None:
    """A score carries every window, on the scale of the inner scorer; a ranking adds their probabilities."""
    outcome = score(Windowed(Short(None), Windows(9, overlap=0)), "hen elk", STORY)
    assert [window.value for window in outcome.windows] == [0.5, 0.5]
    ranked = Reranker(Windowed(Short(None), Windows(9, overlap=0))).rerank("hen elk", [STORY])[0].best_window
    assert ranked is not None
    assert ranked.probability == Scale(ScaleKind.BOUNDED, 0.0, 1.0).probability(0.5)
    assert outcome.best_window == outcome.windows[0]


def test_max_windows_takes_the_first_the_last_and_others_between() -> None:
    """The cost of a text is bounded, and what isn't read is reported in tokens."""
    scorer = Short(None)
    text = " ".join(f"Sentence number {number} says this." for number in range(40))
    outcome = score(Windowed(scorer, Windows(10, overlap=0, max_windows=3)), "this", text)
    assert [text.split(".")[0].strip() for text in scorer.texts] == [
        "Sentence number 0 says this",
        "Sentence number 20 says this",
        "Sentence number 38 says this",
    ]
    assert outcome.truncated == 40 * 5 - 3 * 10


def test_a_cheap_scorer_prunes_the_windows_of_long_texts() -> None:
    """With ``prune_with`` the precise scorer reads only the windows that the cheap one finds best."""
    scorer = Short(None)
    windowed = Windowed(scorer, Windows(8, overlap=0, max_windows=1), prune_with=OverlapScorer())
    scored = windowed.score_pairs([Pair("the dog", STORY), Pair("the dog", "A dog.")])
    assert [text for text in scorer.texts if "." in text] == ["The dog dug. The elk hid. ", "A dog."]
    assert [stage.name for stage in scored.stages] == ["windows", "prune windows", "score"]


def test_pruning_that_is_cut_short_changes_nothing() -> None:
    """Where the cheap scorer has no time for all windows, the evenly spread ones are scored."""
    scorer = Short(None)
    Windowed(scorer, Windows(8, overlap=0, max_windows=1), prune_with=Short(None, most=1)).score("elk", [STORY])
    assert scorer.texts == ["The fox ran. The owl sat. "]


def test_first_windows_come_first() -> None:
    """Each text has a first window scored before any has a second one."""
    scorer = Short(None)
    Windowed(scorer, Windows(9, overlap=0)).score("fox", ["One. " * 12, "Two. " * 12])
    assert [text.split()[0] for text in scorer.texts] == ["One.", "Two.", "One.", "Two."]


def test_a_partly_scored_text_has_the_score_of_its_scored_windows() -> None:
    """After a deadline the best window so far counts, and the tokens of the others are reported as not read."""
    first, second = Windowed(Short(None, most=3), Windows(9, overlap=0)).score("elk", [STORY, STORY])
    assert isinstance(first, Score)
    assert isinstance(second, Score)
    assert (len(first.windows), first.truncated) == (2, 0)
    assert (len(second.windows), second.value, second.truncated) == (1, 0.0, 9)


def test_a_text_without_a_scored_window_is_unscored() -> None:
    """A text that the deadline left out has its reason, and the ranking is marked."""
    late = Short(None, most=1)
    outcomes = Windowed(late, Windows(9)).score("elk", [STORY, STORY])
    assert outcomes[1] == Unscored(UnscoredReason.DEADLINE)
    assert Reranker(Windowed(late, Windows(9))).rerank("elk", [STORY, STORY[:20]]).degraded


def test_a_deadline_that_is_over_cuts_no_text() -> None:
    """After the deadline texts aren't even split."""
    call = Call(0)
    scorer = Short(None)
    outcomes = Windowed(scorer, Windows(9)).score("elk", [STORY], call=call)
    assert outcomes == [Unscored(UnscoredReason.DEADLINE)]
    assert scorer.texts == []


def test_cancellation_reaches_the_inner_scorer() -> None:
    """The call is passed on."""
    call = Call()
    call.cancel()
    (outcome,) = Windowed(OverlapScorer(), Windows(9)).score("elk", [STORY], call=call)
    assert outcome == Unscored(UnscoredReason.CANCELLED)


def test_an_invalid_window_doesnt_count() -> None:
    """A window without a finite value is left out, and a text with none at all is invalid."""
    invalid = Unscored(UnscoredReason.INVALID)
    windows = "The fox ran. The owl sat. The hen hid. ", "The cat ate. The dog dug. The elk hid. "
    half, none = ({windows[0]: invalid, windows[1]: 2.0}, dict.fromkeys(windows, invalid))
    assert score(Windowed(Scripted(half), Windows(9, overlap=0)), "fox", STORY).value == 2.0
    assert Windowed(Scripted(none), Windows(9, overlap=0)).score("fox", [STORY]) == [invalid]


HALVES = "The fox ran. The owl sat. The hen hid. ", "The cat ate. The dog dug. The elk hid. "
NINE = Windows(9, overlap=0)


@pytest.mark.parametrize(
    ("windowed", "partial"),
    [
        (Windowed(Short(None), NINE), [False, False]),
        (Windowed(Short(None, most=3), NINE), [False, True]),
        (Windowed(Scripted({HALVES[0]: math.nan, HALVES[1]: 2.0}), NINE), [True, True]),
        (Windowed(Cascade(Short(None), Scripted({}), keep=2), NINE), [False, False]),
        (Windowed(Short(None), Windows(9, 0, max_windows=1), prune_with=OverlapScorer()), [False, False]),
        (Windowed(Short(None), Windows(9, 0, max_windows=1), prune_with=Short(None, most=3)), [False, True]),
        (Windowed(Windowed(Short(None, most=3), NINE), Windows(99)), [False, True]),
    ],
    ids=["complete", "deadline", "NaN", "pruned on purpose", "chosen", "choice cut short", "partial inside"],
)
def test_a_score_that_was_cut_short_is_partial(windowed: Windowed, partial: list[bool]) -> None:
    """Where windows are missing against the intention, or their choice was cut short, the score is marked."""
    outcomes = windowed.score("elk", [STORY, STORY])
    assert [getattr(outcome, "partial", None) for outcome in outcomes] == partial


def test_a_deadline_counts_before_nan() -> None:
    """A text with an invalid window and one that the deadline left out is unscored because of the deadline."""
    late = Unscored(UnscoredReason.DEADLINE)
    script = dict(zip(HALVES, [math.nan, late], strict=True))
    assert Windowed(Scripted(script), NINE).score("fox", [STORY]) == [late]


def test_the_result_is_by_the_scorer_that_answered_inside() -> None:
    """Scale and fingerprint are those of the fallback's second scorer, which no cache mixes up."""
    windowed = Windowed(Fallback(Failing(), OverlapScorer()), NINE)
    scored = windowed.score_pairs([Pair("hen elk", STORY)])
    assert scored.by.scale == OverlapScorer().spec.scale
    own = Windowed(OverlapScorer(), NINE).spec.fingerprint
    assert len({scored.by.fingerprint, windowed.spec.fingerprint, own}) == 3  # another tokenizer sized the windows


def test_a_cache_around_it_keeps_nothing_of_a_scorer_that_stood_in() -> None:
    """After the first scorer is back, its score is given, and not the other one's."""
    first = Failing()
    cached = Cached(Windowed(Fallback(first, OverlapScorer()), NINE))
    assert score(cached, "hen elk", STORY).value == 0.5
    first.error = None  # type: ignore[assignment]
    first.score_pairs = Scripted({HALVES[0]: 7.0}).score_pairs  # type: ignore[method-assign]
    assert score(cached, "hen elk", STORY).value == 7.0


def test_the_scorer_that_chose_the_windows_is_in_the_results_fingerprint() -> None:
    """Windows that a stand-in chose may be others."""
    windowed = Windowed(Short(None), Windows(9, 0, max_windows=1), prune_with=Fallback(Failing(), OverlapScorer()))
    assert windowed.score_pairs([Pair("elk", "Elk.")]).by == windowed.spec
    assert windowed.score_pairs([Pair("elk", STORY)]).by.fingerprint != windowed.spec.fingerprint


def test_no_scorer_is_refused() -> None:
    """A model's name is no scorer, and neither is a class."""
    for wrong in ("small", OverlapScorer):
        with pytest.raises(ConfigurationError, match="Windowed needs a scorer"):
            Windowed(wrong)  # type: ignore[arg-type]


def test_a_failure_of_the_inner_scorer_is_raised() -> None:
    """A scorer that fails fails here as well."""

    class Broken(OverlapScorer):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            raise ScoringError("the engine failed")

    with pytest.raises(ScoringError):
        Windowed(Broken()).score("fox", ["text"])


def test_the_specification_follows_the_inner_scorers() -> None:
    """Scale and name are the inner scorer's, the settings and the cheap scorer are in the fingerprint."""
    plain, small = Windowed(Short()), Windowed(Short(), Windows(9))
    pruned = Windowed(Short(), Windows(9), prune_with=OverlapScorer())
    assert (plain.spec.name, plain.spec.scale, plain.spec.max_tokens) == ("short", Short().spec.scale, None)
    assert len({plain.spec.fingerprint, small.spec.fingerprint, pruned.spec.fingerprint, "short-1"}) == 4


@pytest.mark.parametrize("varying", ["scorer", "prune_with"])
def test_a_batch_dependent_scorer_makes_the_whole_batch_dependent(varying: str) -> None:
    """Scores may be cached only where neither scorer depends on the batch."""

    class Varying(Short):
        @property
        def spec(self) -> Spec:
            return Spec("varying", LOGIT, "v", 24, batch_invariant=False)

    scorers = {"scorer": Short(), "prune_with": Short(), varying: Varying()}
    assert not Windowed(scorers["scorer"], prune_with=scorers["prune_with"]).spec.batch_invariant
    assert Windowed(Short(), prune_with=Short()).spec.batch_invariant


def test_warmup_and_release_reach_the_scorers() -> None:
    """Both scorers are warmed up and released, where they can be."""
    scorer, cheap = Short(), Short()
    windowed = Windowed(scorer, prune_with=cheap)
    windowed.warmup()
    windowed.release()
    Windowed(OverlapScorer()).release()
    assert (scorer.released, cheap.released) == (1, 1)
    assert "Windows(max_tokens=None" in repr(windowed)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_tokens": 3}, "max_tokens must be a whole number from 8"),
        ({"overlap": 0.9}, "overlap of windows must be within 0 and 0.5"),
        ({"max_windows": 0}, "max_windows must be a whole number from 1"),
        ({"mean_of": 1.5}, "mean_of must be a whole number; got 1.5"),
        ({"pooling": "sum"}, "pooling must be one of max, first, mean"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    """Windows that can't work are a ConfigurationError when they are made."""
    with pytest.raises(ConfigurationError, match=said):
        Windows(**settings)  # type: ignore[arg-type]


def test_the_header_is_repeated_in_every_window() -> None:
    """Each window is scored behind the title, its span is in the text, and the header takes tokens of the model's."""
    scorer, title = Short(24), "Animals at night\n"
    text = title + STORY * 6
    (outcome,) = Windowed(scorer).score_pairs([Pair("red fox", text, header=len(title))]).outcomes
    assert isinstance(outcome, Score)
    assert len(scorer.texts) > 1
    assert all(part.startswith(title) and count_words(part) <= 18 for part in scorer.texts)
    assert [text[w.start : w.end] for w in outcome.windows][1:] == [part[len(title) :] for part in scorer.texts[1:]]
    assert (outcome.windows[0].start, outcome.windows[-1].end) == (0, len(text))


def test_of_a_long_header_the_beginning_is_repeated() -> None:
    """A header that takes more than half of a window is cut, and nothing of it is lost."""
    scorer, header = Short(24), "One. Two. Three. Four. Five. Six. " * 5
    text = header + STORY * 3
    Windowed(scorer, Windows(overlap=0.0)).score_pairs([Pair("fox", text, header=len(header))])
    repeated = len("".join(scorer.texts)) - len(text)
    assert repeated > 0
    assert all(count_words(part) <= 20 for part in scorer.texts)


def test_a_window_of_a_title_and_text_written_by_score_text_has_the_title() -> None:
    """The header of a candidate whose scored text ends with what the LLM reads is what stands before it."""
    scorer, body = Short(24), STORY * 6
    Reranker(Windowed(scorer)).rerank("fox", [Candidate(f"Night. {body}", prompt_text=body)])
    assert all(part.startswith("Night. ") for part in scorer.texts)


def test_what_overlapping_windows_leave_unread_counts_once() -> None:
    """Tokens of windows that weren't scored count once, those that a scored window repeats not at all."""
    text = STORY * 6
    outcome = score(Windowed(Short(), Windows(9, overlap=0.5, max_windows=2)), "fox", text)
    read = sum(count_words(text[window.start : window.end]) for window in outcome.windows)
    assert outcome.truncated == pytest.approx(count_words(text) - read, abs=4)

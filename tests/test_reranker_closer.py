"""A best candidate that doesn't fit the budget: its sentences are scored in a second call, or a note says so."""

from collections.abc import Sequence

import pytest
from worlds import Scripted, count_words

from secondpass import Call, Candidate, ContextBudget, OverlapScorer, Reranker, Selection, Windowed, Windows
from secondpass.errors import ScoringError
from secondpass.fusion import WeightedSum
from secondpass.ranking import Ranking
from secondpass.records import PROBABILITY, NoteKind, Pair, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.scorer import Scorer
from secondpass.selection.packing import Policy

ANSWER = "The fee for an early withdrawal is waived for all members in the first year, and halved in the second. "
LONG = "It rained in the valley on that day, and hardly any visitor came to the counter before noon. " * 2 + ANSWER
BEE = "Two bees."
SCRIPT: dict[str, float | Score | Unscored] = {LONG: 2.0, ANSWER: 3.0, BEE: -4.0}


class Second(Scripted):
    """Answers the first call as the script says, and the second one as it is told.

    :param second: What the second call raises; None for nothing.
    """

    def __init__(self, second: Exception | None = None) -> None:
        super().__init__(SCRIPT)
        self.second = second
        self.calls = 0

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.calls += 1
        if self.second and self.calls == 2:
            raise self.second
        return super().score_pairs(pairs, call=call)


def rerank(scorer: Scorer, policy: Policy = "fill", max_tokens: int = 25, call: Call | None = None) -> Ranking:
    """Rerank the long text and the short one within so many words."""
    budget = ContextBudget(max_tokens, counter=count_words)
    return Reranker(scorer, selection=Selection(budget=budget, policy=policy)).rerank("fee", [BEE, LONG], call=call)


@pytest.mark.parametrize("policy", ["fill", "truncate"])
def test_the_best_is_cut_around_its_best_sentence(policy: Policy) -> None:
    """The sentences are scored in one call more, the order stays, and the report has a stage for it."""
    scorer = Second()
    ranking = rerank(scorer, policy)
    best = min(ranking.kept, key=lambda item: item.rank)
    assert best.text == ANSWER.strip()
    assert (best.score, best.candidate.text[slice(*best.spans[0])], scorer.calls) == (2.0, best.text, 2)
    assert [stage.name for stage in ranking.stages] == ["score", "closer reading", "select"]
    assert not ranking.notes


def test_extraction_reads_a_window_too_long_for_the_budget_more_closely() -> None:
    """Where the best window, of a size that was set, doesn't fit, the best of its sentences is extracted."""
    scorer = Windowed(Second(), Windows(60))
    assert ANSWER.strip() in [item.text for item in rerank(scorer, "extract")]


@pytest.mark.parametrize("scorer", [OverlapScorer(), Windowed(OverlapScorer(), Windows(60))])
def test_a_header_is_read_with_each_sentence_and_makes_none_of_them_the_best(scorer: Scorer) -> None:
    """The sentence that answers is kept after the header, not the first one because the header stands before it."""
    header, answer = "Cat fleas\n", "The treatment is a bath with a mild shampoo once in each week. "
    other = "General remarks on the weather of the valley are given here at some length. "
    text = header + other * 3 + answer + other * 3
    candidates = [Candidate(text, header_length=len(header)), BEE]
    selection = Selection(budget=ContextBudget(18, counter=count_words))
    best, *_ = Reranker(scorer, selection=selection).rerank("cat fleas treatment", candidates)
    assert best.text == header + answer.strip()
    assert best.best_text == answer.strip()


@pytest.mark.parametrize("policy", ["fill", "truncate", "extract"])
@pytest.mark.parametrize(("words", "template"), [(16, "{text}"), (8, "<item id={id} from={source}>{text}</item>")])
def test_sentences_are_sized_by_what_header_and_template_leave(words: int, template: str, policy: Policy) -> None:
    """The answer fits beside both, and is kept: its window isn't as large as if the budget were for it alone."""
    header, answer = "title " * words + "\n", "The treatment is a bath each week. "
    other = "General remarks on the weather of the valley are given here. "
    text = header + other * 4 + answer + other * 4
    budget = ContextBudget(40, counter=count_words, template=template)
    reranker = Reranker(OverlapScorer(), selection=Selection(budget=budget, policy=policy))
    kept = reranker.rerank("treatment bath each week", [Candidate(text, header_length=len(header)), BEE])
    assert answer.strip() in kept.context


@pytest.mark.parametrize(("max_tokens", "size"), [(300, 96), (60, 40), (9, 8)])
def test_windows_to_extract_are_sized_by_the_budget(max_tokens: int, size: int) -> None:
    """They take at most the budget, less what an estimate may be above the true count, and 8 to 96 tokens."""
    scorer = Scripted({})
    budget = ContextBudget(max_tokens, counter=count_words)
    selection = Selection(budget=budget, policy="extract")
    Reranker(scorer, selection=selection).rerank("fee", ["One two three four. " * 100])
    assert 0.8 * size < max(count_words(pair.text) for pair in scorer.asked) <= size


@pytest.mark.parametrize(("policy", "max_tokens"), [("prefix", 25), ("fill", 99), ("extract", 99), ("fill", 0)])
def test_nothing_is_asked_twice_where_it_would_not_help(policy: Policy, max_tokens: int) -> None:
    """There is no second call where the best candidate fits, the policy cuts nothing, or there is no budget left."""
    scorer = Second()
    rerank(scorer, policy, max_tokens)
    assert scorer.calls == 1


@pytest.mark.parametrize("error", [ScoringError("gone"), OSError("gone")])
def test_a_second_call_that_fails_costs_nothing_else(error: Exception) -> None:
    """What else fits is kept, the stage has the error, and a note says that the best was left out."""
    ranking = rerank(Second(error))
    assert [item.text for item in ranking] == [BEE]
    assert ranking.degraded is None
    assert [note.kind for note in ranking.notes] == [NoteKind.BEST_LEFT_OUT]
    assert [stage.facts["error"] for stage in ranking.stages if "error" in stage.facts] == ["gone"]


def test_after_the_deadline_there_is_no_second_call() -> None:
    """A call that has ended asks no more, and keeps what fits."""

    class Late(Second):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            scored = super().score_pairs(pairs, call=call)
            assert call
            call.cancel()
            return scored

    scorer = Late()
    assert [item.text for item in rerank(scorer)] == [BEE]
    assert scorer.calls == 1


def test_sentences_without_a_score_leave_the_candidate_as_it_was() -> None:
    """Where the scorer leaves the sentences unscored, there is nothing to cut by."""

    class Unwilling(Second):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            scored = super().score_pairs(pairs, call=call)
            late = tuple(Unscored(UnscoredReason.DEADLINE) for _ in pairs)
            return scored if self.calls == 1 else Scored(late, self.spec)

    assert [item.text for item in rerank(Unwilling())] == [BEE]


def test_scores_on_another_scale_are_not_mixed_in() -> None:
    """Where another scorer answered the second call, as behind a fallback, its values aren't windows of this score."""

    class Changing(Second):
        @property
        def spec(self) -> Spec:
            spec = super().spec
            return spec if self.calls < 2 else Spec("other", PROBABILITY, "other")

    assert [item.text for item in rerank(Changing())] == [BEE]


def test_the_note_follows_the_value_that_decides() -> None:
    """With fusion, the best is the one with the highest fused value, and a weaker one in its place is told."""
    candidates = [Candidate(LONG, score=0.9), Candidate(BEE, score=0.1)]
    selection = Selection(budget=ContextBudget(3, counter=count_words))
    ranking = Reranker(Scripted({LONG: -4.0, BEE: 2.0}), fusion=WeightedSum(1.0), selection=selection).rerank(
        "fee", candidates
    )
    assert [item.text for item in ranking] == [BEE]
    assert [note.kind for note in ranking.notes] == [NoteKind.BEST_LEFT_OUT]
    assert "1 in the first stage" in str(ranking.notes[0])

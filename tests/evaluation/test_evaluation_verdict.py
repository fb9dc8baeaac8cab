"""The verdict that an evaluation ends with."""

import random

import pytest

pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
from worlds import Scripted

from benchmarks.verdicts import shares
from secondpass import Candidate, Reranker, WeightedSum
from secondpass.errors import ConfigurationError
from secondpass.evaluation import Collection, Finding, Sampling, Settings, Verdict, evaluate
from secondpass.evaluation.measures import compare
from secondpass.evaluation.verdict import finding_of

QUICK = Settings(depths=(2, 4, 8), timed_queries=0, budgets=(), sampling=Sampling(resamples=500))


def judged(questions: int, right_score: float, right_place: int = 4, seed: int = 0, noise: float = 1.0) -> Verdict:
    """Return the verdict on a model that gives the right candidate of eight so high a score, over a fixed place."""
    lots = random.Random(seed)
    scores, run, qrels = {}, {}, {}
    for question in range(questions):
        texts = [f"{question} {place}" for place in range(8)]
        place = lots.choice((right_place - 1, right_place, right_place + 1))
        scores |= {text: lots.gauss(right_score if text == texts[place] else 0.0, noise) for text in texts}
        run[f"q{question}"] = [Candidate(text, id=text, score=8.0 - p) for p, text in enumerate(texts)]
        qrels[f"q{question}"] = {texts[place]: 1}
    queries = {query: query for query in run}
    collection = Collection("verdicts", queries, {text: text for text in scores}, qrels, run)
    (system,) = evaluate(Scripted(scores), collection, settings=QUICK).systems
    assert system.verdict is not None
    return system.verdict


def test_a_clear_gain_helps() -> None:
    """A model that sees the right candidate helps; it is to read as deep as the right one lies, without fusion."""
    verdict = judged(60, right_score=6.0)
    assert verdict.finding is Finding.HELPS
    assert verdict.gain.interval.low is not None
    assert verdict.gain.interval.low > 0
    assert verdict.depth == 8
    assert verdict.fusion is not None
    assert verdict.fusion.alpha == 0


def test_a_clear_loss_hurts_and_no_second_pass_is_recommended() -> None:
    """A model that sees nothing hurts a first stage that is right; the first stage's order is recommended."""
    verdict = judged(60, right_score=-2.0, right_place=1)
    assert verdict.finding is Finding.HURTS
    assert verdict.depth == 0
    assert verdict.fusion is not None
    assert verdict.fusion.alpha > 0.5
    assert verdict.fusion.gain.interval.mean > 0
    assert "no second pass" in " ".join(verdict.sentences())


@pytest.mark.parametrize("questions", [3, 5, 10])
def test_a_null_first_stage_is_claimed_in_one_of_twenty_at_most(questions: int) -> None:
    """Of 100 second passes without an effect at most 5 %, and three standard errors, help or hurt."""
    helps, hurts, _ = shares(questions, 100, gain=False)
    assert helps + hurts <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5


def test_a_gain_is_found_with_enough_questions() -> None:
    """A true gain is found in most trials of fifty questions, and never called a loss."""
    helps, hurts, _ = shares(50, 30, gain=True)
    assert helps > 0.7
    assert hurts == 0


@pytest.mark.parametrize(
    ("gains", "finding"),
    [
        ([0.5, 0.5], Finding.UNDECIDED),
        ([0.3] * 5, Finding.UNDECIDED),
        ([0.3] * 6, Finding.HELPS),
        ([0.001, -0.001] * 9, Finding.UNDECIDED),
        ([0.001, -0.001] * 10, Finding.NO_DIFFERENCE),
        ([0.0] * 30, Finding.UNDECIDED),
        ([0.01] * 30, Finding.HELPS),
    ],
)
def test_a_finding_needs_enough_questions_and_variance(gains: list[float], finding: Finding) -> None:
    """A claim needs as many questions as its test; "no difference" needs 20, and changes that aren't all alike."""
    before = [0.1 + place / 100 for place in range(len(gains))]
    gain = compare(before, [b + g for b, g in zip(before, gains, strict=True)], QUICK.sampling)
    assert finding_of(gain, len(gains), QUICK) is finding


def test_the_same_order_on_every_question_shows_nothing() -> None:
    """Without variance there is no sampling error: no claim, and no number of questions that would do."""
    verdict = judged(30, right_score=0.0, noise=0.0)
    assert verdict.finding is Finding.UNDECIDED
    assert (verdict.detectable, verdict.questions_needed) == (None, None)


def test_nineteen_questions_give_no_advice() -> None:
    """A depth and a weight are recommended on 20 questions or more."""
    few, enough = (judged(questions, right_score=6.0) for questions in (19, 20))
    assert (few.depth, few.fusion) == (None, None)
    assert enough.depth is not None
    assert enough.fusion is not None


def test_few_questions_say_what_they_can_tell() -> None:
    """Thirty questions and a small change are undecided: the detectable change, and how many would show less."""
    verdict = judged(30, right_score=-0.5)
    assert verdict.finding is Finding.UNDECIDED
    assert verdict.detectable is not None
    assert verdict.questions_needed is not None
    assert abs(verdict.gain.interval.mean) < verdict.detectable
    assert verdict.questions_needed == pytest.approx(30 * (verdict.detectable / 0.02) ** 2, rel=0.01)
    assert f"{verdict.questions_needed} would show 0.02" in " ".join(verdict.sentences())


def test_the_tables_end_with_the_verdict_and_the_questions_that_lost_most() -> None:
    """The last section names the finding, and the questions that lost most; a fused system gets no fusion advice."""
    run = {"q1": [Candidate("x", id="x"), Candidate("y", id="y")], "q2": [Candidate("x", id="x")]}
    qrels = {"q1": {"x": 1}, "q2": {"x": 1}}
    collection = Collection("two", {"q1": "why x", "q2": "x"}, {"x": "x", "y": "y"}, qrels, run)
    reranker = Reranker(Scripted({"y": 5.0}), fusion=WeightedSum(0.1))
    result = evaluate({"model": reranker}, collection, settings=QUICK)
    verdict = result.to_markdown().partition("## Verdict")[2]
    assert "**model can't be told" in verdict
    assert "Lost most: why x (-0.369)." in verdict
    assert "fusion" not in verdict
    assert "## " not in verdict


def test_what_counts_as_negligible_is_a_setting() -> None:
    """It must be between 0 and 1."""
    with pytest.raises(ConfigurationError, match="negligible"):
        Settings(negligible=0.0)

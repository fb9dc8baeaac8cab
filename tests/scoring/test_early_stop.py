"""Rules that leave out scoring: when scoring in blocks ends, and when the pass is skipped."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_engine import FakeEngine
from worlds import Scripted, reasons, texts

from secondpass import Call, Candidate, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.scores import Pair, Score, Scored, UnscoredReason
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.early_stop import Gate, Stopping, StopRule, first_stage_margin
from secondpass.scoring.fallback import Fallback

SCORER = Scripted({"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0, "e": 1.0})
RULE = StopRule("scripted", top_k=1, risk=0.1, block=2, thresholds=(4.5, 3.0), questions=20)


def outcomes(scored: Scored) -> list[object]:
    """Return each score, or why there is none."""
    return [getattr(outcome, "value", None) or str(outcome.reason) for outcome in scored.outcomes]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("order", "scored"),
    [("abcde", [5.0, 4.0, "pruned", "pruned", "pruned"]), ("bcade", [4.0, 3.0, 5.0, 2.0, "pruned"])],
    ids=["ends after one block", "ends after two blocks"],
)
def test_scoring_ends_where_the_best_is_above_the_threshold(order: str, scored: Sequence[object]) -> None:
    """Behind each block scoring ends if the top-k's last score is above that block's threshold."""
    assert outcomes(Stopping(SCORER, RULE).score_pairs([Pair("q", text) for text in order])) == scored


@pytest.mark.parametrize(
    "rule",
    [replace(RULE, thresholds=()), replace(RULE, thresholds=(None, None)), replace(RULE, top_k=6)],
    ids=["no thresholds", "thresholds that never end it", "fewer scores than the top-k"],
)
def test_scoring_goes_on_without_a_threshold(rule: StopRule) -> None:
    """Without a threshold, or with fewer scores than the top-k, everything is scored."""
    assert outcomes(Stopping(SCORER, rule).score_pairs([Pair("q", text) for text in "abcde"])) == [5, 4, 3, 2, 1]


def test_the_report_says_what_was_saved() -> None:
    """What is left out is dropped as pruned, with the risk, and the stage counts it; the ranking isn't degraded."""
    ranking = Reranker(Stopping(SCORER, RULE)).rerank("q", list("abcde"))
    assert (texts(ranking), reasons(ranking.dropped)) == (["a", "b"], dict.fromkeys("cde", "pruned"))
    assert (ranking.stages[0].facts["saved_pairs"], ranking.degraded) == (3, None)


def test_each_query_stops_by_itself() -> None:
    """The pairs of several queries in one call are judged for each query."""
    mixed = [Pair(query, text) for text in "abc" for query in ("one", "two")]
    assert outcomes(Stopping(SCORER, RULE).score_pairs(mixed)) == [5, 5, 4, 4, "pruned", "pruned"]


def test_a_rule_of_another_scorer_is_refused() -> None:
    """A rule holds for the scorer that it was fitted on: scores of others differ."""
    with pytest.raises(ConfigurationError, match="must be fitted on the scorer that it stops"):
        Stopping(SCORER, replace(RULE, fingerprint="other"))


def test_where_another_scorer_answers_everything_is_scored_on_its_scale() -> None:
    """A fallback that changes scorers between two blocks gives all scores of the call anew, by one of them."""

    class FailsLater(Scripted):
        def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
            if self.asked:
                raise ScoringError("broken")
            return super().score_pairs(pairs, call=call)

    scorer = Fallback(FailsLater(SCORER.script), OverlapScorer())
    scored = Stopping(scorer, RULE).score_pairs([Pair("q", text) for text in "bcqae"])
    assert [outcome.value for outcome in scored.outcomes if isinstance(outcome, Score)] == [0, 0, 1, 0, 0]
    assert scored.by == replace(OverlapScorer().spec, call_invariant=False)


def test_tokens_are_counted_by_the_scorer() -> None:
    """So that windows around it have the model's size."""
    assert Stopping(SCORER, RULE).count_tokens(["two words"]) == [2]


def test_warming_up_and_releasing_reach_the_scorer() -> None:
    """``warmup`` and ``release`` are the scorer's."""
    engine = FakeEngine()
    stopping = Stopping(CrossEncoder(engine), replace(RULE, fingerprint="fake"))
    stopping.warmup()
    stopping.release()
    assert (len(engine.batches), engine.released) == (1, 1)


# The gate


@pytest.mark.parametrize(
    ("scores", "top_k", "margin"),
    [
        ([10.0, 9.0, 5.0, 0.0], 2, 0.4),
        ([0.0, 5.0, 10.0, 9.0], 2, 0.4),
        ([10.0, 9.0], 2, None),
        ([1.0, 1.0, 1.0], 1, None),
        ([10.0, None, 5.0], 1, None),
        ([], 1, None),
    ],
    ids=["in order", "in any order", "nothing behind the top-k", "all alike", "one unknown", "none"],
)
def test_the_margin_by_hand(scores: list[float | None], top_k: int, margin: float | None) -> None:
    """The margin is the gap behind the top-k as a share of the whole range: (9 - 5) / (10 - 0)."""
    assert first_stage_margin(scores, top_k) == margin


def candidates(*scores: float) -> list[Candidate]:
    """Return candidates with first-stage scores, named by them."""
    return [Candidate(str(score), score=score) for score in scores]


def test_a_wide_margin_skips_the_pass() -> None:
    """Where the first stage's best stands clear, nothing is scored, its order is kept, and the saving is counted."""
    scorer = Scripted({})
    reranker = Reranker(scorer, gate=Gate(top_k=1, risk=0.1, margin=0.5, questions=20))
    ranking = reranker.rerank("q", candidates(9.0, 2.0, 1.0))
    assert (texts(ranking), scorer.asked, ranking.degraded) == (["9.0", "2.0", "1.0"], [], None)
    assert {str(kept.outcome.reason) for kept in ranking} == {str(UnscoredReason.SKIPPED)}  # type: ignore[union-attr]
    assert ranking.stages[0].facts == {"skipped": True, "saved_pairs": 3}


@pytest.mark.parametrize("margin", [0.9, None])
def test_a_narrow_margin_is_scored(margin: float | None) -> None:
    """Where the margin is below the gate's, or the gate never skips, the candidates are scored."""
    scorer = Scripted({})
    Reranker(scorer, gate=Gate(1, 0.1, margin, 20)).rerank("q", candidates(9.0, 2.0, 1.0))
    assert len(scorer.asked) == 3


@pytest.mark.parametrize("rule", [RULE, Gate(5, 0.05, None, 40)], ids=["stop rule", "gate"])
def test_rules_are_plain_data(rule: StopRule | Gate) -> None:
    """A rule goes through JSON and back."""
    assert type(rule).from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


def test_unknown_data_is_refused() -> None:
    """Data with other fields is an error."""
    with pytest.raises(ConfigurationError, match="Gate must have the fields"):
        Gate.from_dict({"top_k": 3, "other": 1})

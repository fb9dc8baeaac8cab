"""Fitting of what may be left out, checked on questions that were not fitted on."""

import random

import pytest

pytest.importorskip("pytrec_eval", reason="the extra eval isn't installed")
from worlds import Scripted

from secondpass import Candidate, Reranker
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.evaluation import Collection, fit_gate, fit_keep, fit_stop
from secondpass.scores import Pair, Score, Unscored, UnscoredReason
from secondpass.scoring.cascade import Cascade
from secondpass.scoring.early_stop import Stopping
from secondpass.scoring.scorer import Scorer

CANDIDATES = 40


def world(questions: int, seed: int) -> tuple[Collection, Scripted, Scripted]:
    """Return questions whose first stage and cheap scorer are the precise scorer with noise, and both scorers."""
    chance = random.Random(seed)
    precise: dict[str, float] = {}
    cheap: dict[str, float] = {}
    run = {}
    for question in range(questions):
        truth = [chance.gauss(0, 1) for _ in range(CANDIDATES)]
        noisy = sorted(((value + chance.gauss(0, 0.4), value) for value in truth), reverse=True)
        first = [value for _, value in noisy]
        names = [f"{seed}-{question}-{rank}" for rank in range(CANDIDATES)]
        run[str(question)] = [
            Candidate(name, id=name, score=score) for name, (score, _) in zip(names, noisy, strict=True)
        ]
        precise |= dict(zip(names, first, strict=True))
        cheap |= {name: value + chance.gauss(0, 0.3) for name, value in zip(names, first, strict=True)}
    queries = {query: f"question {query}" for query in run}
    qrels = {query: {str(items[0].id): 1} for query, items in run.items()}
    corpus = {str(item.id): item.text for items in run.values() for item in items}
    return Collection("world", queries, corpus, qrels, run), Scripted(precise), Scripted(cheap)


def losses(scorer: Scorer, full: Scorer, collection: Collection, top_k: int) -> float:
    """Return the share of questions in which a scorer loses one of the full pass's top-k."""
    lost = 0
    for query, candidates in collection.run.items():
        pairs = [Pair(query, item.text) for item in candidates]
        values = [o.value for o in full.score_pairs(pairs).outcomes if isinstance(o, Score)]
        best = sorted(range(len(values)), key=lambda position: -values[position])[:top_k]
        outcomes = scorer.score_pairs(pairs).outcomes
        lost += any(isinstance(outcomes[position], Unscored) for position in best)
    return lost / len(collection)


def test_the_fitted_keep_holds_on_other_questions() -> None:
    """With the fitted number the top-k survives in all but the stated share of further questions."""
    collection, precise, cheap = world(200, seed=1)
    fit = fit_keep(cheap, precise, collection, top_k=5, risk=0.1)
    other, precise, cheap = world(200, seed=2)
    assert losses(Cascade(cheap, precise, keep=fit.keep), precise, other, top_k=5) <= 0.15
    assert 5 <= fit.keep < CANDIDATES
    assert (fit.questions, fit.top_k) == (200, 5)
    assert fit.survival > 0.95


def test_less_risk_keeps_more() -> None:
    """A lower risk never gives a smaller number."""
    collection, precise, cheap = world(100, seed=3)
    keeps = [fit_keep(cheap, precise, collection, top_k=5, risk=risk).keep for risk in (0.5, 0.2, 0.05)]
    assert keeps == sorted(keeps)


def test_a_keep_by_hand() -> None:
    """Where both scorers agree, the top-k is what is kept; where they are opposed, everything is."""
    collection, precise, _ = world(40, seed=4)
    opposed = Scripted({text: -value for text, value in precise.script.items()})  # type: ignore[operator]
    assert fit_keep(precise, precise, collection, top_k=3).keep == 3
    assert fit_keep(opposed, precise, collection, top_k=3).keep == CANDIDATES


def test_the_fitted_stop_holds_on_other_questions() -> None:
    """With the fitted rule scoring ends early, and the top-k stays in all but the stated share of further questions."""
    collection, scorer, _ = world(200, seed=5)
    rule = fit_stop(scorer, collection, top_k=5, risk=0.1, block=5)
    other, scorer, _ = world(200, seed=6)
    stopping = Stopping(scorer, rule)
    saved = [
        stage.facts["saved_pairs"]
        for query, items in other.run.items()
        for stage in stopping.score_pairs([Pair(query, item.text) for item in items]).stages
    ]
    assert losses(stopping, scorer, other, top_k=5) <= 0.15
    assert sum(map(int, map(str, saved))) > 0.1 * CANDIDATES * len(other)


def test_the_fitted_gate_holds_on_other_questions() -> None:
    """With the fitted gate passes are skipped, and the top-k stays in all but the stated share of further questions."""
    collection, scorer, _ = world(300, seed=7)
    gate = fit_gate(scorer, collection, top_k=1, risk=0.1)
    other, scorer, _ = world(300, seed=8)
    gated, full = Reranker(scorer, gate=gate), Reranker(scorer)
    differ = skipped = 0
    for query, items in other.run.items():
        ranking = gated.rerank(query, items)
        if ranking.stages[0].facts.get("skipped"):
            skipped += 1
            differ += ranking[0].candidate.id != full.rerank(query, items)[0].candidate.id
    assert skipped > 0
    assert differ / len(other) <= 0.15


def test_a_first_stage_without_scores_never_skips() -> None:
    """Without first-stage scores there is no margin, and the gate never skips."""
    collection, scorer, _ = world(30, seed=9)
    run = {query: [Candidate(c.text, id=c.id) for c in items] for query, items in collection.run.items()}
    bare = Collection("bare", collection.queries, collection.corpus, collection.qrels, run)
    assert fit_gate(scorer, bare, top_k=1, risk=0.1).margin is None


def test_too_few_questions_for_a_risk_are_an_error() -> None:
    """A risk of 0.05 can't be stated from ten questions; the error says how many are needed."""
    collection, precise, cheap = world(10, seed=10)
    with pytest.raises(ConfigurationError, match="from 19 questions on, and there are 10"):
        fit_keep(cheap, precise, collection, risk=0.05)
    for wrong in ({"top_k": 0}, {"risk": 0.0}, {"risk": 1.0}):
        with pytest.raises(ConfigurationError, match="top_k must be 1 or more and risk between 0 and 1"):
            fit_gate(precise, collection, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="block must be 1"):
        fit_stop(precise, collection, risk=0.5, block=0)


def test_a_scorer_that_leaves_out_candidates_is_refused() -> None:
    """Fitting needs every score."""
    collection, precise, cheap = world(30, seed=11)
    partial = Scripted(dict(precise.script) | {"11-0-0": Unscored(UnscoredReason.INVALID)})
    with pytest.raises(ScoringError, match="must score every candidate"):
        fit_keep(cheap, partial, collection, risk=0.1)

"""The pipeline: order, fusion, settings and observers."""

import math
import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from worlds import Failing, Scripted, reasons, texts

from secondpass import (
    Cached,
    Candidate,
    ContextBudget,
    Fallback,
    OverlapScorer,
    Ranking,
    ReciprocalRank,
    Reranker,
    Selection,
    WeightedSum,
    Windowed,
)
from secondpass.errors import ConfigurationError
from secondpass.observe.monitoring import FallCounter
from secondpass.records import Pair, Scale, ScaleKind, Spec, Unscored, UnscoredReason
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.options import DEFAULT_MODEL

LATE = Unscored(UnscoredReason.DEADLINE)
INVALID = Unscored(UnscoredReason.INVALID, "the model gave nan")


# The order


def test_candidates_come_best_first() -> None:
    """The scorer's order replaces the first stage's, and both ranks are recorded."""
    ranking = Reranker(Scripted({"dog": 1.0, "fox": 3.0, "bee": 2.0})).rerank("query", ["dog", "fox", "bee"])
    assert [(kept.text, kept.rank_before, kept.rank) for kept in ranking] == [
        ("fox", 2, 1),
        ("bee", 3, 2),
        ("dog", 1, 3),
    ]


def test_the_scorer_reads_query_and_text() -> None:
    """Each candidate's ``text`` is paired with the query; the scorer never gets the ``prompt_text``."""
    scorer = Scripted({})
    Reranker(scorer).rerank("query", ["fox", Candidate("dog", prompt_text="a long story")])
    assert scorer.asked == [Pair("query", "fox"), Pair("query", "dog")]


def test_ties_go_to_the_better_first_stage_rank() -> None:
    """Equal scores keep the first stage's order, by its ranks where the candidates have them."""
    given_ranks = [Candidate("third", rank=3), Candidate("first", rank=1), Candidate("second", rank=2)]
    assert texts(Reranker(Scripted({})).rerank("query", ["a", "b", "c"])) == ["a", "b", "c"]
    assert texts(Reranker(Scripted({})).rerank("query", given_ranks)) == ["first", "second", "third"]


def test_the_order_comes_from_raw_values() -> None:
    """Two logits whose probabilities are both 1.0 keep their order."""
    ranking = Reranker(Scripted({"good": 40.0, "better": 50.0})).rerank("query", ["good", "better"])
    assert [(kept.text, kept.probability) for kept in ranking] == [("better", 1.0), ("good", 1.0)]


def test_scores_are_plain_floats() -> None:
    """Score and probability are Python floats: a logit of ln 3 is 3 to 1."""
    (kept,) = Reranker(Scripted({"fox": math.log(3)})).rerank("query", ["fox"])
    assert (type(kept.score), type(kept.probability)) == (float, float)
    assert kept.probability == pytest.approx(0.75)


# Fusion


def test_fusion_orders_but_the_threshold_reads_the_probability() -> None:
    """The first stage's weight puts the dog first, and its own probability of 0.27 still drops it at 0.5."""
    scorer = Scripted({"dog": -1.0, "fox": 1.0})
    fusion = ReciprocalRank(weights={"first_stage": 5.0})
    fused = Reranker(scorer, fusion=fusion).rerank("query", ["dog", "fox"])
    strict = Reranker(scorer, fusion=fusion, selection=Selection(min_probability=0.5)).rerank("query", ["dog", "fox"])
    assert texts(fused) == ["dog", "fox"]
    assert (texts(strict), reasons(strict.dropped)) == (["fox"], {"dog": "below threshold"})


def test_the_fused_value_stands_beside_the_score() -> None:
    """A kept candidate has its raw score and its fused value, and the fusion is a stage of its own."""
    ranking = Reranker(Scripted({"fox": 3.0}), fusion=ReciprocalRank()).rerank("query", ["fox"])
    assert ranking[0].score == 3.0
    assert ranking[0].fused == pytest.approx(2 / 61)
    assert [stage.name for stage in ranking.stages] == ["score", "fuse", "select"]


def test_only_scored_candidates_are_fused() -> None:
    """A candidate that the deadline left out has no fused value and comes after all that have one."""
    ranking = Reranker(Scripted({"late": LATE}), fusion=ReciprocalRank()).rerank("query", ["late", "fox"])
    assert [(kept.text, kept.fused is None) for kept in ranking] == [("fox", False), ("late", True)]


def test_an_unknown_signal_always_raises() -> None:
    """Fusing by a signal that no candidate has is a configuration error, not a failure of the scorer."""
    reranker = Reranker(Scripted({}), fusion=ReciprocalRank(weights={"clicks": 1.0}), on_error="degrade")
    with pytest.raises(ConfigurationError, match="'clicks'"):
        reranker.rerank("query", ["fox"])


@pytest.mark.parametrize("outcome", [LATE, INVALID], ids=["deadline", "invalid"])
def test_a_signal_that_only_an_unscored_candidate_has_is_no_error(outcome: Unscored) -> None:
    """Where the one candidate with the signal has no score, the ranking still has every candidate."""
    signalled = Candidate("signalled", signals={"bm25": 3.0})
    reranker = Reranker(Scripted({"signalled": outcome}), fusion=ReciprocalRank(weights={"bm25": 1.0}))
    ranking = reranker.rerank("query", [signalled, Candidate("fox")])
    assert sorted(texts([*ranking.kept, *ranking.dropped])) == ["fox", "signalled"]


# Settings and observers


def test_a_scorer_may_be_a_name_or_a_folder(tiny: Callable[..., Path]) -> None:
    """A name means a bundled model, a ``Path`` a model's folder, and the default is a bundled model."""
    folder = tiny("onnx")
    scorers = [Reranker("nano").scorer, Reranker().scorer, Reranker(folder).scorer]
    assert [scorer.spec.name for scorer in scorers] == ["nano", DEFAULT_MODEL, folder.name]


def test_a_bundled_model_reranks() -> None:
    """A reranker with a bundled model's name finds the answer."""
    ranking = Reranker("nano").rerank("how long does a flea live?", ["Cats purr.", "Fleas live 100 days."])
    assert [kept.text for kept in ranking] == ["Fleas live 100 days.", "Cats purr."]


def test_copies_share_the_scorer() -> None:
    """A deep copy of a reranker has the same settings and the same scorer object, whatever kind it is."""
    for scorer in (CrossEncoder(FakeEngine()), Scripted({})):
        original = Reranker(scorer, selection=Selection(top_n=1), on_error="raise", deadline_ms=9, observers=[print])
        copy = deepcopy({"reranker": original})["reranker"]
        assert copy is not original
        assert copy.scorer is scorer
        settings = ("selection", "fusion", "on_error", "deadline_ms", "observers")
        assert [getattr(copy, name) for name in settings] == [getattr(original, name) for name in settings]


async def test_a_reranker_can_be_copied_after_use() -> None:
    """A reranker whose ``arerank`` was called can be copied, and the copy works."""
    reranker = Reranker(Scripted({"fox": 1.0}))
    await reranker.arerank("query", ["fox"])
    assert texts(await deepcopy(reranker).arerank("query", ["dog", "fox"])) == ["fox", "dog"]


class UnknownScale(Scripted):
    """Has scores of which only the order is known."""

    @property
    def spec(self) -> Spec:
        return Spec("unknown", Scale(ScaleKind.UNKNOWN), fingerprint="unknown")


def test_scores_on_an_unknown_scale_have_no_probability() -> None:
    """On an unknown scale the scores give the order, and there are no probabilities."""
    ranking = Reranker(UnknownScale({"fox": 12.0})).rerank("query", ["dog", "fox"])
    assert [(kept.text, kept.score, kept.probability) for kept in ranking] == [("fox", 12.0, None), ("dog", 0.0, None)]


@pytest.mark.parametrize("on_error", ["degrade", "raise"])
def test_a_minimum_probability_needs_a_known_scale(on_error: Any) -> None:
    """A minimum probability for scores on an unknown scale is a configuration error that names the alternatives."""
    message = r"min_probability needs .* unknown is unknown: use top_n or a budget"
    selection = Selection(min_probability=0.5)
    with pytest.raises(ConfigurationError, match=message):
        Reranker(UnknownScale({}), selection=selection, on_error=on_error)
    with pytest.raises(ConfigurationError, match=message):
        Reranker(UnknownScale({}), on_error=on_error).rerank("query", ["fox"], selection=selection)


@pytest.mark.parametrize(
    "live",
    [Reranker(OverlapScorer()), Cached(OverlapScorer()), Fallback(OverlapScorer(), OverlapScorer())],
    ids=lambda live: type(live).__name__,
)
def test_what_holds_threads_and_locks_cannot_be_pickled(live: object) -> None:
    """A reranker, a cache and a fallback say, as a loaded model does, what to pickle instead."""
    with pytest.raises(ConfigurationError, match=rf"a {type(live).__name__} can't be pickled: pickle the settings"):
        pickle.dumps(live)


@pytest.mark.parametrize(
    "settings",
    [{"fusion": WeightedSum}, {"observers": [FallCounter]}, {"selection": Selection}],
    ids=str,
)
def test_a_class_instead_of_an_object_is_refused_at_construction(settings: dict[str, Any]) -> None:
    """A class has the methods of its objects, and would fail at the first call."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Reranker(OverlapScorer(), **settings)


def test_windows_without_a_size_are_refused_around_a_scorer_without_a_limit() -> None:
    """Each text would be one window; also inside of other scorers. Extraction has its own size."""
    windowed = Windowed(OverlapScorer())
    for scorer in (windowed, Fallback(windowed, OverlapScorer())):
        with pytest.raises(ConfigurationError, match="Windowed has no effect around overlap, which states no limit"):
            Reranker(scorer)
    assert Reranker(windowed, selection=Selection(policy="extract")).rerank("a fox", ["a fox"]).kept


@pytest.mark.parametrize("error", [ValueError("a full disk"), ConfigurationError("a wrong setting")], ids=repr)
def test_a_failing_observer_is_logged_and_changes_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An observer's exception is logged with its traceback; the ranking is returned and the others are called."""

    def fail(ranking: Ranking) -> None:
        raise error

    seen: list[Ranking] = []
    ranking = Reranker(Scripted({"fox": 1.0}), observers=[fail, seen.append]).rerank("query", ["dog", "fox"])
    assert texts(ranking) == ["fox", "dog"]
    assert seen == [ranking]
    (record,) = caplog.records
    assert (record.name, record.levelname, record.exc_info and record.exc_info[1]) == ("secondpass", "ERROR", error)


def test_a_selection_for_one_call() -> None:
    """A selection given to ``rerank`` is used for that call alone."""
    reranker = Reranker(Scripted({"fox": 1.0}), selection=Selection(top_n=1))
    assert texts(reranker.rerank("query", ["dog", "fox"], selection=Selection(top_n=2))) == ["fox", "dog"]
    assert texts(reranker.rerank("query", ["dog", "fox"])) == ["fox"]


def test_observers_see_the_finished_ranking() -> None:
    """Each observer is called once with the ranking that the caller gets, also with a degraded one."""
    seen: list[Ranking] = []
    for scorer in (Scripted({}), Failing()):
        ranking = Reranker(scorer, observers=[seen.append, seen.append]).rerank("query", ["fox"])
        assert [item is ranking for item in seen[-2:]] == [True, True]
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reranker(object()), "scorer must be a model's name, a folder, or an object with spec and score_pairs"),  # type: ignore[arg-type]
        (lambda: Reranker(None), "scorer must be a model's name"),  # type: ignore[arg-type]
        (lambda: Reranker(OverlapScorer(), on_error="ignore"), "on_error must be one of degrade, raise; got 'ignore'"),  # type: ignore[arg-type]
        (lambda: Reranker(OverlapScorer(), deadline_ms=-1), "deadline_ms must be 0 or more"),
        (lambda: Reranker(OverlapScorer(), deadline_ms=math.nan), "deadline_ms must be a number or None; got nan"),
    ],
    ids=["an object", "None", "on_error", "negative deadline", "deadline of nan"],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Reranker], message: str) -> None:
    """An invalid setting is a ConfigurationError when the reranker is created."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_limits_are_settings_of_the_reranker_too() -> None:
    """``top_n`` and ``budget``, tokens or a record, are those of a selection; both places at once are refused."""
    reranker = Reranker(OverlapScorer(), top_n=2, budget=30)
    assert reranker.selection == Selection(top_n=2, budget=ContextBudget(30))
    assert len(reranker.rerank("fox", ["fox one", "fox two", "fox three"]).kept) == 2
    for name, value in (("top_n", 3), ("budget", 9)):
        with pytest.raises(ConfigurationError, match=f"{name} is given twice: {name}={value}"):
            Reranker(OverlapScorer(), selection=Selection(top_n=2, budget=30), **{name: value})  # type: ignore[arg-type]

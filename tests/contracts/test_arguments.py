"""Arguments of public constructors and functions: whatever is given, a wrong one is an error of the package's own."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from secondpass import (
    Cached,
    Call,
    Candidate,
    Cascade,
    ContextBudget,
    CoveredMass,
    Fallback,
    LargestGap,
    LoadOptions,
    OverlapScorer,
    Pair,
    ReciprocalRank,
    Reranker,
    Score,
    Scored,
    Selection,
    Spec,
    Unscored,
    UnscoredReason,
    WeightedSum,
    Windowed,
    Windows,
    load_scorer,
)
from secondpass.calibration import Answerability, Calibration
from secondpass.errors import ConfigurationError, InputError, SecondpassError
from secondpass.fusion import LearnedFusion, merge_lists
from secondpass.observe import AuditLog
from secondpass.observe.monitoring import FallCounter, Shadow
from secondpass.observe.telemetry import Telemetry
from secondpass.records import LOGIT, PROBABILITY, Scale, ScaleKind
from secondpass.scorers.calibrated import Calibrated
from secondpass.scorers.remote import Dialect, Limits, RemoteScorer

SCORER = OverlapScorer()
TEXTS = ["a red fox", "a whale"]
CANDIDATES = [Candidate(text, id=text) for text in TEXTS]

ODD: list[Any] = [
    *(None, 0, -1, 5, 2.5, math.nan, math.inf, 10**400, True, "", "x" * 5000, "a\0b", "\ud800", b"x", [], ["a"], (5,)),
    *(
        {},
        {"a": 1},
        {5},
        np.float32(0.5),
        np.int64(3),
        np.array([1, 2]),
        np.array(["a", "b"]),
        np.array(5),
        pd.NA,
        pd.NaT,
    ),
    *(np.datetime64("2020-01-01"), pd.DataFrame({"text": ["a"]}), pd.Series(["a"]), object(), OverlapScorer),
]


class Answering(OverlapScorer):
    """Returns what it is given as its result."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def score_pairs(self, pairs: Any, *, call: Call | None = None) -> Any:
        return self.result


def scored(outcome: Any) -> Any:
    return rerank(Answering(Scored((outcome, outcome), SCORER.spec)))


def rerank(scorer: Any = SCORER, **settings: Any) -> Any:
    return Reranker(scorer, **settings).rerank("fox", TEXTS)


def listwise(result: Any) -> Any:
    return rerank(SimpleNamespace(spec=SCORER.spec, score_list=lambda *_, **__: result))


CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Candidate": (Candidate, {"text": "a", "id": "1", "score": 1.0, "rank": 1, "signals": {}, "metadata": {}}),
    "Selection": (
        Selection,
        {
            "top_n": 3,
            "min_probability": 0.1,
            "min_keep": 0,
            "max_unscored": 3,
            "budget": ContextBudget(9),
            "policy": "fill",
        }
        | {"duplicates": "exact", "near": 0.7, "diversity": 0.0, "adaptive": None, "order": "relevance"},
    ),
    "ContextBudget": (
        ContextBudget,
        {"max_tokens": 9, "counter": len, "separator": "", "template": "{text}", "origin": "", "prompt_tokens": 9},
    ),
    "ContextBudget.check": (ContextBudget(9).check, {"context": "a"}),
    "ContextBudget.less": (ContextBudget(9).less, {"history": "a"}),
    "counter": (lambda tokens: ContextBudget(9, counter=lambda _: tokens).check("a"), {"tokens": 3}),
    "Call": (Call, {"deadline_ms": 5}),
    "Reranker": (
        rerank,
        {"scorer": SCORER, "selection": None, "fusion": None, "on_error": "raise", "deadline_ms": None},
    ),
    "Reranker.observers": (rerank, {"observers": ()}),
    "rerank": (
        Reranker(SCORER).rerank,
        {"query": "fox", "candidates": TEXTS, "selection": None, "call": None, "exclude": ()},
    ),
    "rerank_many": (
        lambda **given: list(Reranker(SCORER).rerank_many(**given)),
        {"requests": [("fox", TEXTS)], "selection": None, "call": None, "pairs_at_once": 9},
    ),
    "score": (SCORER.score, {"query": "fox", "texts": TEXTS, "call": None}),
    "LoadOptions": (LoadOptions, {"max_queued_pairs": 9, "watchdog_seconds": 9.0, "threads": 1, "batch_size": 9}),
    "load_scorer": (load_scorer, {"model": "x", "engine": "x", "device": "x", "dtype": "x", "options": LoadOptions()}),
    "ReciprocalRank": (
        lambda **given: rerank(fusion=ReciprocalRank(**given)),
        {"k": 60, "weights": {"first_stage": 1}},
    ),
    "WeightedSum": (lambda **given: rerank(fusion=WeightedSum(**given)), {"alpha": 0.3, "weights": {"first_stage": 1}}),
    "LearnedFusion": (LearnedFusion, {"fingerprint": "x", "weights": (1.0,) * 4, "signals": (), "questions": 3}),
    "fuse": (lambda fused: rerank(fusion=SimpleNamespace(fuse=lambda *_: fused)), {"fused": [1.0, 2.0]}),
    "merge_lists": (merge_lists, {"lists": {"a": CANDIDATES}, "fusion": None}),
    "LargestGap": (LargestGap, {"min_gap": 0.2}),
    "CoveredMass": (CoveredMass, {"mass": 0.9}),
    "Windows": (Windows, {"max_tokens": 9, "overlap": 0.2, "max_windows": 3, "pooling": "max", "mean_of": 2}),
    "Windowed": (
        lambda **given: Windowed(**given).score("fox", TEXTS),
        {"scorer": SCORER, "windows": Windows(9), "prune_with": None},
    ),
    "Cached": (Cached, {"scorer": SCORER, "max_entries": 9, "allow_batch_dependent": False}),
    "Cached.path": (lambda path: Cached(SCORER, path).score("fox", TEXTS), {"path": None}),
    "Cascade": (
        lambda cheap, **given: Cascade(cheap, SCORER, **given).score("fox", TEXTS),
        {"cheap": SCORER, "keep": 1, "first_stage_weight": 0.0, "name": None},
    ),
    "Fallback": (
        lambda first, **given: Fallback(first, SCORER, **given).score("fox", TEXTS),
        {"first": SCORER, "max_failures": 3, "retry_seconds": 3.0},
    ),
    "Calibrated": (
        lambda **given: Calibrated(**given).score("fox", TEXTS),
        {"scorer": SCORER, "calibration": None, "answerability": None},
    ),
    "Calibration": (
        Calibration,
        {"method": "isotonic", "fingerprint": "x", "slope": 1.0, "intercept": 0.0, "points": ((0.0, 0.0), (1.0, 1.0))},
    ),
    "Calibration.from_dict": (Calibration.from_dict, {"data": {"method": "platt", "fingerprint": "x"}}),
    "Answerability": (Answerability, {"fingerprint": "x", "weights": (1.0,) * 4, "intercept": 0.0, "questions": 1}),
    "Scale": (Scale, {"kind": ScaleKind.BOUNDED, "low": 0.0, "high": 1.0, "declared": "", "calibration": None}),
    "Spec": (Spec, {"name": "x", "scale": PROBABILITY, "fingerprint": "x", "max_tokens": None, "answerability": None}),
    "Score": (lambda value: scored(Score(value)), {"value": 0.5}),
    "Unscored": (lambda reason: scored(Unscored(reason)), {"reason": UnscoredReason.FAILED}),
    "Scored": (
        lambda **given: rerank(Answering(replace(Scored((Score(0.1), Score(0.2)), SCORER.spec), **given))),
        {"outcomes": (Score(0.1), Score(0.2)), "by": SCORER.spec, "stages": (), "notes": ()},
    ),
    "score_pairs": (lambda result: rerank(Answering(result)), {"result": Scored((Score(0.1),) * 2, SCORER.spec)}),
    "score_list": (listwise, {"result": Scored((Score(0.1),) * 2, SCORER.spec)}),
    "RemoteScorer": (
        RemoteScorer,
        {
            "dialect": "tei",
            "model": "m",
            "url": "http://localhost:1",
            "key_variable": None,
            "max_texts": 3,
            "limits": None,
        },
    ),
    "RemoteScorer.named": (RemoteScorer.named, {"name": "tei:@http://localhost:1"}),
    "Limits": (Limits, {"timeout_seconds": 1.0, "retries": 1, "connections": 1, "max_answer_bytes": 9}),
    "Dialect": (
        lambda **given: RemoteScorer(Dialect(**given)),
        {"name": "x", "url": "http://localhost:1", "path": "/r", "key_variable": "HOME", "scale": LOGIT, "limit": 3},
    ),
    "FallCounter": (FallCounter, {"far": 10, "warn_share": None, "window": 9}),
    "Shadow": (Shadow, {"reranker": Reranker(SCORER), "record": len, "most_waiting": 3, "every": 1}),
    "AuditLog": (
        lambda **given: AuditLog("/dev/null/audit.db", **given),
        {"max_mb": 1.0, "max_days": 1.0, "max_queued": 3},
    ),
    "Telemetry": (Telemetry, {"queries": True, "texts": False, "max_documents": 3}),
    "to_json": (rerank().to_json, {"indent": None}),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what a path of one letter names be written in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_an_error_of_the_package_s_own(name: str) -> None:
    """None, numbers of any kind, texts, lists, tables and classes are accepted, or refused by a ``SecondpassError``."""
    call, given = CALLS[name]
    for argument in given:
        for value in ODD:
            with suppress(SecondpassError):
                call(**given | {argument: value})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Reranker(model="small"), "Reranker has no setting 'model'; did you mean 'scorer'?"),
        (lambda: Selection(top_k=3), "Selection has no setting 'top_k'; did you mean 'top_n'?"),
        (lambda: Windows(size=3), "Windows has no setting 'size'. It has max_tokens, overlap,"),
        (lambda: replace(Selection(), polcy="fill"), "did you mean 'policy'?"),
        (ContextBudget, "ContextBudget: missing a required argument: 'max_tokens'"),
        (lambda: load_scorer("small", cpu=True), "load_scorer has no setting 'cpu'"),
        (lambda: Fallback("small", "nano"), r"load_scorer\('small'\) is a scorer"),
        (lambda: Reranker(SCORER).rerank("fox", TEXTS, call=200), r"Call\(deadline_ms=200\), got 200"),
        (lambda: load_scorer("x" * 5000), "model must be a bundled model"),
        (lambda: listwise([0.5, 0.5]), "score_list must return Scored"),
        (lambda: scored(Score(None)), "a Score's value must be a number, got None"),
    ],
)
def test_an_error_says_what_was_meant(call: Callable[[], object], said: str) -> None:
    """A name, a type or a form that doesn't exist is a configuration error with what to give instead."""
    with pytest.raises(ConfigurationError, match=said):
        call()


@pytest.mark.parametrize("items", [pd.DataFrame({"text": TEXTS}), {*TEXTS}, {"a": 1}, "a red fox", b"fox", 5, None])
def test_candidates_are_a_list(items: Any) -> None:
    """A set has no order, and a data frame iterates over the names of its columns: neither is reranked."""
    with pytest.raises(InputError, match="candidates must be a list of texts or Candidates, got"):
        Reranker(SCORER).rerank("fox", items)


def test_numbers_of_other_libraries_become_python_s() -> None:
    """Settings of numpy's types are kept, reported and written as plain numbers."""
    selection = Selection(top_n=np.int64(3), min_probability=np.float32(0.5))  # type: ignore[arg-type]
    assert [type(value) for value in (selection.top_n, selection.min_probability)] == [int, float]


def test_pairs_are_scored_by_position_after_odd_results() -> None:
    """An integer beyond the range of floats is a score that isn't finite, and costs that pair its score alone."""
    result = rerank(Answering(Scored((Score(10**400), Score(0.5)), SCORER.spec)))
    assert [kept.index for kept in result] == [1]
    assert tuple(Pair("a", "b")) == ("a", "b")

"""The postprocessor's settings: validation, serialisation, copies, and when the model is loaded."""

import asyncio
import copy
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration_support import Loader
from llama_index.core.schema import MetadataMode
from llama_support import QUESTION, WaitingScorer, ids, overlap_postprocessor, scored_nodes
from worlds import named

from secondpass import ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.llama_index import SecondPassRerank
from secondpass.records import UnscoredReason

SETTINGS: dict[str, Any] = {
    "model": "some/model",
    "top_n": 2,
    "budget": 200,
    "selection": Selection(order="ends"),
    "device": "cpu",
    "metadata_mode": MetadataMode.LLM,
}
LIVE: dict[str, tuple[dict[str, Any], str]] = {
    "reranker": ({"reranker": Reranker(OverlapScorer())}, "reranker"),
    "callable": ({"model": "some/model", "budget": lambda query: 5}, "budget, a callable"),
    "counter": ({"model": "some/model", "budget": ContextBudget(5, counter=str.split)}, "token counter 'split'"),
}
COPIES: dict[str, Callable[[SecondPassRerank], SecondPassRerank]] = {
    "to_dict": lambda it: SecondPassRerank.from_dict(it.to_dict()),
    "to_json": lambda it: SecondPassRerank.from_json(it.to_json()),
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "some/model", "reranker": Reranker(OverlapScorer())}, "and not both"),
        ({"model": "some/model", "top_k": 3}, "top_k"),
        ({"model": "some/model", "top_n": 0}, "top_n"),
        ({"model": "some/model", "budget": -1}, "max_tokens must be .*got -1"),
        ({"model": "some/model", "metadata_mode": "some"}, "metadata_mode"),
        (
            {"reranker": Reranker(OverlapScorer()), "device": "cpu"},
            "device has no effect together with",
        ),
    ],
    ids=named,
)
def test_invalid_settings_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    """An invalid setting raises a ``ConfigurationError`` that names it."""
    with pytest.raises(ConfigurationError, match=message):
        SecondPassRerank(**settings)


def test_nothing_is_loaded_at_construction(loader: Loader) -> None:
    """The model is loaded once, by the first call."""
    postprocessor = SecondPassRerank(model="some/model")
    assert loader.names == []
    for _ in range(2):
        postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    assert loader.names == ["some/model"]


async def test_model_that_does_not_exist_raises_at_the_first_call_though_failures_degrade(tmp_path: Path) -> None:
    """A missing model is a configuration error, and never gives a degraded ranking."""
    postprocessor = SecondPassRerank(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    with pytest.raises(ModelNotFound, match="nowhere"):
        await postprocessor.apostprocess_nodes(scored_nodes(), query_str=QUESTION)


@pytest.mark.parametrize("way", COPIES)
def test_serialised_settings_create_a_working_postprocessor(loader: Loader, way: str) -> None:
    """Serialisation and copies keep all settings, and the new postprocessor reranks."""
    twin = COPIES[way](SecondPassRerank(**SETTINGS))
    assert {name: getattr(twin, name) for name in SETTINGS} == SETTINGS
    assert ids(twin.postprocess_nodes(scored_nodes(), query_str=QUESTION)) == ["answer", "rain"]


@pytest.mark.parametrize("way", COPIES)
def test_budget_record_survives_serialisation(way: str) -> None:
    """A budget with layout and the default counter is restored as an equal budget."""
    budget = ContextBudget(100, separator="\n---\n", template="[{index}] {text}", origin="by hand")
    assert COPIES[way](SecondPassRerank(model="some/model", budget=budget)).budget == budget


@pytest.mark.parametrize(
    ("live", "way"), [*itertools.product(LIVE, ["to_dict", "to_json"]), ("reranker", "pickle")], ids=named
)
def test_live_objects_are_refused_by_name(live: str, way: str) -> None:
    """The error names the live objects that can't be serialised."""
    settings, named = LIVE[live]
    with pytest.raises(ConfigurationError, match=named):
        COPIES[way](SecondPassRerank(**settings))


def test_json_has_the_given_settings_and_the_class_name() -> None:
    """LlamaIndex's key ``class_name`` names the class."""
    written = json.loads(SecondPassRerank(model="some/model", top_n=2).to_json())
    assert written == {"class_name": "SecondPassRerank", "model": "some/model", "top_n": 2}


def test_settings_are_plain_data() -> None:
    """``settings`` returns plain strings and numbers, no members of LlamaIndex's enumerations."""
    mode = SecondPassRerank(model="some/model", metadata_mode=MetadataMode.LLM).settings()["metadata_mode"]
    assert (type(mode), mode) == (str, "llm")


def test_deepcopy_shares_the_live_reranker() -> None:
    """A deep copy shares a live reranker."""
    postprocessor = overlap_postprocessor()
    assert copy.deepcopy(postprocessor).shared_reranker() is postprocessor.shared_reranker()


async def test_cancelled_task_cancels_the_call() -> None:
    """When the awaiting task is cancelled, so is the scorer's call."""
    scorer = WaitingScorer()
    postprocessor = SecondPassRerank(reranker=Reranker(scorer))
    task = asyncio.create_task(postprocessor.apostprocess_nodes(scored_nodes(), query_str=QUESTION))
    try:
        assert await asyncio.to_thread(scorer.begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scorer.call is not None
        assert scorer.call.stop_reason() is UnscoredReason.CANCELLED
    finally:
        scorer.may_end.set()

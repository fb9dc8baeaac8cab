"""The postprocessor's settings: what is refused, what is written down, and when the model is loaded."""

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import MetadataMode
from llama_worlds import QUESTION, ids, overlap_postprocessor, scored_nodes

from secondpass import Call, ContextBudget, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.llama_index import SecondPassRerank
from secondpass.scores import Pair, Scored, UnscoredReason

SETTINGS: dict[str, Any] = {
    "model": "some/model",
    "top_n": 2,
    "budget": 200,
    "order": "ends",
    "device": "cpu",
    "metadata_mode": MetadataMode.LLM,
}
LIVE: dict[str, tuple[dict[str, Any], str]] = {
    "reranker": ({"reranker": Reranker(OverlapScorer())}, "reranker"),
    "callable": ({"model": "m", "budget": lambda query: 5}, "budget, a callable"),
    "counter": ({"model": "m", "budget": ContextBudget(5, counter=str.split)}, "token counter 'split'"),
}
WRITTEN: dict[str, Callable[[SecondPassRerank], SecondPassRerank]] = {
    "to_dict": lambda it: SecondPassRerank.from_dict(it.to_dict()),
    "to_json": lambda it: SecondPassRerank.from_json(it.to_json()),
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "deepcopy": copy.deepcopy,
}


class WaitingScorer(OverlapScorer):
    """Says that it has begun, waits until it may end, and keeps its call."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.call: Call | None = None

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.call = call
        self.begun.set()
        self.may_end.wait(30)
        return super().score_pairs(pairs, call=call)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every model's name load the scorer that counts shared words, and list the names that were loaded."""
    names: list[str] = []

    def load_overlap(model: str, **options: Any) -> OverlapScorer:
        names.append(model)
        return OverlapScorer()

    monkeypatch.setattr("secondpass.integration.load_scorer", load_overlap)
    return names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m", "reranker": Reranker(OverlapScorer())}, "and not both"),
        ({"model": "m", "top_k": 3}, "top_k"),
        ({"model": "m", "top_n": 0}, "top_n"),
        ({"model": "m", "budget": -1}, "max_tokens must be .*got -1"),
        ({"model": "m", "metadata_mode": "some"}, "metadata_mode"),
        ({"reranker": Reranker(OverlapScorer()), "device": "cpu"}, "device can't change a reranker"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    """A mistake in the settings raises a ValueError that names it, before any question comes."""
    with pytest.raises(ValueError, match=message):
        SecondPassRerank(**settings)


def test_nothing_is_loaded_at_construction(loaded: list[str]) -> None:
    """The model is loaded by the first call, once, and not before."""
    postprocessor = SecondPassRerank(model="some/model")
    assert loaded == []
    for _ in range(2):
        postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    assert loaded == ["some/model"]


async def test_model_that_does_not_exist_raises_at_the_first_call_though_failures_degrade(tmp_path: Path) -> None:
    """A missing model is a mistake in the configuration, and is never turned into a degraded ranking."""
    postprocessor = SecondPassRerank(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        postprocessor.postprocess_nodes(scored_nodes(), query_str=QUESTION)
    with pytest.raises(ModelNotFound, match="nowhere"):
        await postprocessor.apostprocess_nodes(scored_nodes(), query_str=QUESTION)


@pytest.mark.parametrize("way", WRITTEN)
def test_settings_that_were_written_down_make_a_working_postprocessor(loaded: list[str], way: str) -> None:
    """Every way to write a postprocessor down keeps all its settings, and what comes back answers questions."""
    twin = WRITTEN[way](SecondPassRerank(**SETTINGS))
    assert {name: getattr(twin, name) for name in SETTINGS} == SETTINGS
    assert ids(twin.postprocess_nodes(scored_nodes(), query_str=QUESTION)) == ["answer", "rain"]


@pytest.mark.parametrize("way", WRITTEN)
def test_budget_record_is_written_down_whole(way: str) -> None:
    """A budget with layout and the default counter comes back as the same record."""
    budget = ContextBudget(100, separator="\n---\n", template="[{index}] {text}", origin="by hand")
    assert WRITTEN[way](SecondPassRerank(model="m", budget=budget)).budget == budget


@pytest.mark.parametrize("way", ["to_dict", "to_json", "pickle"])
@pytest.mark.parametrize("live", LIVE)
def test_live_objects_are_refused_by_name(live: str, way: str) -> None:
    """What can't be written down raises and says why, and isn't lost in silence."""
    settings, named = LIVE[live]
    with pytest.raises(ConfigurationError, match=named):
        WRITTEN[way](SecondPassRerank(**settings))


def test_written_settings_are_plain_and_carry_the_class_name() -> None:
    """LlamaIndex's own key names the class."""
    written = json.loads(SecondPassRerank(model="m", top_n=2).to_json())
    assert written["class_name"] == "SecondPassRerank"
    assert (written["model"], written["top_n"], written["metadata_mode"]) == ("m", 2, "embed")


def test_settings_are_plain_data() -> None:
    """``settings`` gives plain strings and numbers, no members of LlamaIndex's enumerations."""
    mode = SecondPassRerank(model="m", metadata_mode=MetadataMode.LLM).settings()["metadata_mode"]
    assert (type(mode), mode) == (str, "llm")


def test_deepcopy_shares_the_live_reranker() -> None:
    """Frameworks copy their parts freely; a live reranker is shared, not copied."""
    postprocessor = overlap_postprocessor()
    assert copy.deepcopy(postprocessor).shared_reranker() is postprocessor.shared_reranker()


async def test_cancelled_task_cancels_the_call() -> None:
    """When the awaiting task is cancelled, the scorer's call says so, and the cancellation goes through."""
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

"""The compressor's settings: validation, serialisation, copies, and when the model is loaded."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from integration_support import Loader
from langchain_core.load import dumpd, dumps, load
from langchain_core.runnables import ConfigurableField
from langchain_support import QUESTION, TEXTS, documents, ids, overlap_compressor
from worlds import named

from secondpass import ContextBudget, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.langchain import SecondPassRerank
from secondpass.scoring.named import LOADED_MODELS

SETTINGS: dict[str, Any] = {"top_n": 2, "budget": 100, "min_probability": 0.1, "score_key": "bm25"} | {
    "selection": {"order": "ends"},
    "options": {"engine": "onnx"},
}


revives = pytest.mark.filterwarnings("ignore:The function `load` is in beta")


def from_data(data: Any) -> Any:
    """Load a compressor from ``dumpd``'s data."""
    return load(data, allowed_objects=[SecondPassRerank], valid_namespaces=["secondpass"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "some/model", "reranker": Reranker(OverlapScorer())}, "and not both"),
        ({"model": "some/model", "top_k": 3}, "top_k"),
        ({"model": "some/model", "top_n": 0}, "top_n"),
        ({"model": "some/model", "budget": -1}, "max_tokens must be .*got -1"),
        ({"model": "some/model", "budget": "many"}, "max_tokens must be a whole number"),
        ({"model": "some/model", "min_probability": 1.5}, "min_probability must be within 0 and 1"),
        ({"model": "some/model", "selection": {"min_keep": -1}}, "min_keep must be .*got -1"),
        ({"model": "some/model", "policy": "squeeze"}, "policy"),
        ({"model": "some/model", "selection": {"order": "random"}}, "order"),
        ({"model": "some/model", "options": {"engine": "other"}}, "engine"),
        ({"model": "some/model", "on_error": "ignore"}, "on_error"),
        (
            {"reranker": Reranker(OverlapScorer()), "device": "cpu"},
            "device has no effect together with",
        ),
        (
            {"reranker": Reranker(OverlapScorer()), "on_error": "raise"},
            "on_error has no effect together with",
        ),
        ({"reranker": OverlapScorer()}, "reranker"),
    ],
    ids=named,
)
def test_invalid_settings_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    """An invalid setting raises a ``ConfigurationError`` that names it."""
    with pytest.raises(ConfigurationError, match=message):
        SecondPassRerank(**settings)


def test_nothing_is_loaded_at_construction(loader: Loader) -> None:
    """The model is loaded once, by the first call."""
    compressor = SecondPassRerank(model="some/model")
    assert loader.names == []
    for _ in range(2):
        compressor.compress_documents(documents(), QUESTION)
    assert loader.names == ["some/model"]


def test_warmup_loads_the_model(loader: Loader) -> None:
    """``warmup`` loads the model, so that the first call doesn't."""
    SecondPassRerank(model="some/model").warmup()
    assert loader.names == ["some/model"]


def test_model_that_does_not_exist_raises_at_the_first_call_though_failures_degrade(tmp_path: Path) -> None:
    """A missing model is a configuration error, and never gives a degraded ranking."""
    compressor = SecondPassRerank(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        compressor.compress_documents(documents(), QUESTION)


async def test_model_that_does_not_exist_raises_on_the_async_path_too(tmp_path: Path) -> None:
    """``acompress_documents`` raises the same error."""
    compressor = SecondPassRerank(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        await compressor.acompress_documents(documents(), QUESTION)


@revives
def test_dumpd_and_load_create_an_equal_compressor(loader: Loader) -> None:
    """A compressor that LangChain serialised and loaded has the same settings, and reranks."""
    revived = from_data(dumpd(SecondPassRerank(model="some/model", **SETTINGS)))
    assert revived.settings() == {"model": "some/model", **SETTINGS}
    assert ids(revived.compress_documents(documents(), QUESTION)) == ["answer", "rain"]


@revives
def test_budget_record_survives_serialisation() -> None:
    """A budget with layout and the default counter is loaded as an equal budget."""
    budget = ContextBudget(100, separator="\n---\n", template="[{index}] {text}", origin="by hand")
    revived = from_data(dumpd(SecondPassRerank(model="some/model", budget=budget)))
    assert revived.budget == budget


@pytest.mark.parametrize(
    "settings",
    [
        {"reranker": Reranker(OverlapScorer())},
        {"model": "some/model", "budget": lambda query: 5},
        {"model": "some/model", "budget": ContextBudget(5, counter=str.split)},
    ],
    ids=["reranker", "callable", "counter"],
)
def test_dumpd_marks_live_objects_as_not_implemented(settings: dict[str, Any]) -> None:
    """Live objects give LangChain's mark ``not_implemented``, and ``dumps`` doesn't fail."""
    compressor = SecondPassRerank(**settings)
    assert dumpd(compressor)["type"] == "not_implemented"
    assert '"not_implemented"' in dumps(compressor)


@pytest.mark.parametrize(
    "copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy, copy.copy], ids=["pickle", "deepcopy", "copy"]
)
def test_copies_work_and_have_the_same_settings(loader: Loader, copied: Any) -> None:
    """Copies have all settings, and rerank."""
    compressor = SecondPassRerank(model="some/model", **SETTINGS)
    twin = copied(compressor)
    assert twin.settings() == {"model": "some/model", **SETTINGS}
    assert ids(twin.compress_documents(documents(), QUESTION)) == ["answer", "rain"]


def test_used_compressor_pickles_without_its_model(loader: Loader) -> None:
    """The pickle has the settings alone; where the model isn't loaded, it is loaded again."""
    compressor = SecondPassRerank(model="some/model")
    compressor.compress_documents(documents(), QUESTION)
    data = pickle.dumps(compressor)
    LOADED_MODELS.clear()
    twin = pickle.loads(data)
    assert loader.names == ["some/model"]
    twin.compress_documents(documents(), QUESTION)
    assert loader.names == ["some/model"] * 2


def test_deepcopy_shares_the_live_reranker() -> None:
    """A deep copy shares a live reranker."""
    compressor = overlap_compressor(top_n=1)
    twin = copy.deepcopy(compressor)
    assert twin is not compressor
    assert twin.shared_reranker() is compressor.shared_reranker()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"reranker": Reranker(OverlapScorer())}, "reranker"),
        ({"model": "some/model", "budget": lambda query: 5}, "budget, a callable"),
        ({"model": "some/model", "budget": ContextBudget(5, counter=str.split)}, "token counter 'split'"),
    ],
    ids=["reranker", "callable", "counter"],
)
def test_serialising_live_objects_raises_and_names_them(settings: dict[str, Any], named: str) -> None:
    """The error names the live objects that have no form as data."""
    with pytest.raises(ConfigurationError, match=named):
        SecondPassRerank(**settings).settings()


def test_pickle_takes_a_budget_with_its_counter_but_no_live_model() -> None:
    """A budget travels with any counter that pickle takes, as to the processes of a pool; a loaded model doesn't."""
    compressor = SecondPassRerank(model="nano", budget=ContextBudget(5, counter=str.split, template="{title}: {text}"))
    twin = pickle.loads(pickle.dumps(compressor))
    assert (twin.model, twin.budget.counting.count("one two"), twin.budget.template) == ("nano", 2, "{title}: {text}")
    with pytest.raises(ConfigurationError, match=r"live objects \(reranker\)"):
        pickle.dumps(SecondPassRerank(reranker=Reranker(OverlapScorer())))


def test_a_compressor_is_equal_before_and_after_its_first_call() -> None:
    """Whether the model is loaded makes no difference."""
    compressor = SecondPassRerank(model=OverlapScorer())
    twin = SecondPassRerank(model=compressor.model)
    compressor.compress_documents(documents(), QUESTION)
    assert compressor == twin


def test_configuring_one_field_keeps_the_others_as_given() -> None:
    """A setting that was given with its default's value stays given when another one is configured."""
    fields = {"deadline_ms": ConfigurableField(id="deadline")}
    compressor = SecondPassRerank(model=OverlapScorer(), top_n=None, duplicates="keep")
    chain = compressor.configurable_fields(**fields)
    given = {"query": QUESTION, "documents": documents() * 2}
    for deadline in (3_600_000, 7_200_000):
        found = chain.with_config(configurable={"deadline": deadline}).invoke(given)
        assert len(found) == 2 * len(documents())


def test_pickled_compressor_over_a_real_model_gives_the_same(reranker_folder: Path) -> None:
    """A pickled compressor over a real model returns equal documents."""
    compressor = SecondPassRerank(model=str(reranker_folder), top_n=2)
    twin = pickle.loads(pickle.dumps(compressor))
    found = twin.compress_documents(documents(), QUESTION)
    assert ids(found)[0] == "answer"
    assert found == compressor.compress_documents(documents(), QUESTION)
    assert len(TEXTS) > len(found) == 2

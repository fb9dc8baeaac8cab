"""The compressor's settings: validation, serialisation, copies, and when the model is loaded."""

import pickle
from typing import Any

import pytest
from integration_support import Loader
from langchain_core.load import dumpd, dumps, load
from langchain_core.runnables import ConfigurableField
from langchain_support import QUESTION, documents

from secondpass import ContextBudget, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError
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

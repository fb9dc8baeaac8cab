"""The number of results without limits, and limits that are given as None."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from integration_support import LangChain, Loader
from langchain_core.load import dumpd, load
from langchain_core.runnables import ConfigurableField
from worlds import named

from secondpass import ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.langchain import SecondPassRerank

SEVEN = {f"n{number}": f"swallows {number}" for number in range(7)}

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "deepcopy": copy.deepcopy,
    "settings": lambda it: type(it)(**it.settings()),
    "framework": lambda it: (
        load(dumpd(it), allowed_objects=[type(it)], valid_namespaces=["secondpass"])
        if isinstance(it, SecondPassRerank)
        else type(it).from_dict(it.to_dict())
    ),
}
"""``framework`` is the serialisation of the integration's framework."""


def kept(integration: LangChain, component: Any) -> int:
    """Return how many of seven relevant items are kept."""
    return len(integration.run(component, integration.items(SEVEN)))


def test_without_settings_the_bundled_model_keeps_the_best_five(integration: LangChain, loader: Loader) -> None:
    """``SecondPassRerank()`` loads ``small`` and keeps 5."""
    assert kept(integration, integration.create()) == 5
    assert loader.names == ["small"]


def test_without_settings_a_real_model_puts_the_answer_first(integration: LangChain) -> None:
    """``SecondPassRerank()`` reranks with the base install alone."""
    assert integration.ids(integration.run(integration.create()))[0] == "answer"


def test_reranker_without_a_limit_keeps_the_best_five(integration: LangChain) -> None:
    """A shared reranker whose selection has no limit doesn't return everything."""
    assert kept(integration, integration.over(OverlapScorer())) == 5
    assert kept(integration, integration.over(OverlapScorer(), selection=Selection(order="ends"))) == 5


@pytest.mark.parametrize(
    "settings", [{"budget": 1000}, {"budget": lambda query: 1000}, {"min_probability": 0.1}, {"top_n": None}], ids=named
)
def test_given_limit_replaces_the_default(integration: LangChain, settings: dict[str, Any]) -> None:
    """A budget, a minimum probability, or ``top_n=None`` sets the only limit."""
    assert kept(integration, integration.over(OverlapScorer(), settings)) == 7


@pytest.mark.parametrize(
    ("selection", "expected"),
    [(Selection(top_n=6), 6), (Selection(min_probability=0.1), 7), (Selection(budget=ContextBudget(1000)), 7)],
    ids=["top_n", "min_probability", "budget"],
)
def test_shared_rerankers_limit_replaces_the_default(
    integration: LangChain, selection: Selection, expected: int
) -> None:
    """The default of 5 doesn't apply where the shared reranker's selection has a limit."""
    assert kept(integration, integration.over(OverlapScorer(), selection=selection)) == expected


@pytest.mark.parametrize(
    ("selection", "lifted", "expected"),
    [
        (Selection(top_n=2), {"top_n": None}, 7),
        (Selection(budget=ContextBudget(0)), {"budget": None}, 5),
        (Selection(budget=ContextBudget(0)), {"budget": None, "top_n": None}, 7),
        (Selection(min_probability=1.0), {"min_probability": None}, 5),
    ],
    ids=["top_n", "budget", "budget and top_n", "min_probability"],
)
def test_none_lifts_the_limit_of_a_shared_reranker(
    integration: LangChain, selection: Selection, lifted: dict[str, Any], expected: int
) -> None:
    """A limit given as None replaces that of the shared reranker; without any limit left, 5 are kept."""
    texts = {name: f"{text} fly" for name, text in SEVEN.items()}
    component = integration.over(OverlapScorer(), lifted, selection=selection)
    assert len(integration.run(component, integration.items(texts))) == expected


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(("settings", "expected"), [({}, 5), ({"top_n": None}, 7), ({"top_n": 2}, 2)], ids=named)
def test_copies_distinguish_none_from_not_given(
    integration: LangChain, loader: Loader, settings: dict[str, Any], expected: int, way: str
) -> None:
    """Serialisation and copies keep the given settings alone, so ``top_n=None`` and no ``top_n`` stay different."""
    twin = COPIES[way](integration.create(**settings))
    given = {name: value for name, value in twin.settings().items() if name != "metadata_mode"}
    assert given == settings
    assert kept(integration, twin) == expected


@pytest.mark.parametrize("shared", [False, True], ids=["model", "reranker"])
def test_configurable_fields_of_langchain_keep_the_other_settings(loader: Loader, shared: bool) -> None:
    """A compressor that ``configurable_fields`` creates for a call changes the configured setting alone."""
    reranker = {"reranker": Reranker(OverlapScorer(), selection=Selection(policy="prefix"))} if shared else {}
    configured = SecondPassRerank(**reranker).configurable_fields(selection=ConfigurableField(id="selection"))
    given = {"query": "swallows", "documents": LangChain().items(SEVEN)}
    results = configured.invoke(given, {"configurable": {"selection": Selection(order="ends")}})
    assert [document.id for document in results] == ["n0", "n2", "n4", "n3", "n1"]

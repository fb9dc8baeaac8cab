"""Invalid settings and inputs: every error is a ``SecondpassError`` that says what must hold."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from integration_support import QUESTION, LangChain, LlamaIndex, Loader
from langchain_core.embeddings import FakeEmbeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.schema import TextNode
from worlds import named

from secondpass import OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, InputError, SecondpassError
from secondpass.langchain import SecondPassRerank, TwoStageRetriever


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_probability": 3}, "min_probability must be within 0 and 1"),
        ({"min_probability": "high"}, "min_probability: .*got 'high'"),
        ({"top_n": "many"}, "top_n: .*got 'many'"),
        ({"score_threshold": 0.3}, "score_threshold: .*did you mean min_probability"),
        ({"threshold": 0.3}, "did you mean min_probability"),
        ({"top_k": 3}, "top_k: .*did you mean top_n"),
        ({"model_name": "some/model"}, "did you mean model"),
        ({"backend": "onnx"}, r"did you mean options=LoadOptions\(engine=...\)"),
        ({"order": "ends"}, r"did you mean selection=Selection\(order=...\)"),
        ({"topn": 3}, "topn: .*did you mean top_n"),
        ({"k": 3}, "k: .*did you mean top_n"),
        ({"min_score": 0.3}, "did you mean min_probability"),
        ({"max_tokens": 800}, "did you mean budget"),
        ({"counter": len}, r"did you mean budget=ContextBudget\(..., counter=...\)"),
        ({"template": "{text}"}, r"did you mean budget=ContextBudget\(..., template=...\)"),
        ({"unheard_of": 1}, "unheard_of: .*got 1$"),
        ({"model": "smal"}, "'smal' is none of these: did you mean 'small'"),
        ({"model": "~nobody-here"}, "'~nobody-here' is none of these$"),
        ({"device": "gpu"}, "device must be auto, cpu, mps, cuda or cuda:N, got 'gpu'"),
        ({"options": {"dtype": "int4"}}, "dtype must be auto"),
        ({"options": {"threads": 0}}, "threads must be a whole number from 1"),
        ({"budget": lambda _query: 100, "min_probability": 3}, "min_probability must be within 0 and 1"),
        ({"model": 5}, "model must be a model's name, a folder or a Scorer, got 5"),
        ({"model": OverlapScorer}, "model must be a model's name, a folder or a Scorer"),
        ({"reranker": OverlapScorer()}, "reranker"),
        ({"budget": {"tokens": 5}}, "has no setting 'tokens'; did you mean 'max_tokens'"),
        ({"budget": 2.5}, "max_tokens must be a whole number"),
        ({"fusion": "rrf"}, "fusion: .*got 'rrf'"),
        ({"observers": print}, "observers"),
        ({"observers": [5]}, "observers must be a list of functions of a Ranking"),
        ({"duplicates": "some"}, "duplicates"),
        ({"options": {"threads": "x"}}, "threads"),
        ({"deadline_ms": -1}, "deadline_ms must be 0 or more"),
        ({"deadline_ms": float("nan")}, "deadline_ms must be a number or None; got nan"),
        ({"top_n": 0, "policy": "squeeze"}, "top_n: .*policy: "),
        ({"budget": -1}, "max_tokens must be .*got -1"),
        ({"budget": "many"}, "max_tokens must be a whole number"),
        ({"on_error": "ignore"}, "on_error"),
        ({"selection": {"min_keep": -1}}, "min_keep must be .*got -1"),
        ({"selection": {"order": "random"}}, "order"),
        ({"options": {"engine": "other"}}, "engine"),
        ({"model": "nano", "reranker": Reranker(OverlapScorer())}, "and not both"),
        ({"reranker": Reranker(OverlapScorer()), "device": "cpu"}, "device has no effect together with"),
    ],
    ids=named,
)
def test_invalid_setting_is_a_configuration_error(
    integration: LangChain, settings: dict[str, Any], message: str
) -> None:
    """The error names the setting, the value, and the right name of a familiar other one."""
    with pytest.raises(ConfigurationError, match=message):
        integration.create(**settings)


@pytest.mark.parametrize("kind", [SecondpassError, ConfigurationError, ValueError])
@pytest.mark.parametrize("settings", [{"min_probability": 3}, {"top_k": 3}, {"top_n": "many"}], ids=named)
def test_invalid_setting_is_caught_by_each_base_class(
    integration: LangChain, settings: dict[str, Any], kind: type[Exception]
) -> None:
    """``except SecondpassError`` and ``except ValueError`` both catch it."""
    with pytest.raises(kind):
        integration.create(**settings)


def test_settings_are_given_by_name(integration: LangChain) -> None:
    """A setting without a name is a configuration error, not a ``TypeError``."""
    with pytest.raises(ConfigurationError, match=r"takes its settings by name, as model=\.\.\., got 'small' alone"):
        type(integration.create())("small")


def test_retrievers_invalid_setting_is_a_configuration_error() -> None:
    """``k`` in ``search_kwargs`` is refused with the setting to use; hints name the retriever's settings alone."""
    store = InMemoryVectorStore(FakeEmbeddings(size=2))
    with pytest.raises(ConfigurationError, match="fetch_k is how many candidates to retrieve"):
        TwoStageRetriever(vectorstore=store, search_kwargs={"k": 4})
    with pytest.raises(ConfigurationError, match=r"top_n: .*did you mean k\?"):
        TwoStageRetriever(vectorstore=store, top_n=4)
    with pytest.raises(ConfigurationError, match=r"reranker: .*did you mean compressor"):
        TwoStageRetriever(vectorstore=store, reranker=SecondPassRerank())


ITERABLES: dict[str, Callable[[list[Any]], Iterable[Any]]] = {
    "generator": lambda items: (item for item in items),
    "tuple": tuple,
    "dict values": lambda items: dict(enumerate(items)).values(),
}


@pytest.mark.parametrize("form", ITERABLES)
async def test_any_iterable_is_accepted(integration: LangChain, form: str) -> None:
    """Documents and nodes may come from any iterable, on both paths."""
    component = integration.create(model=OverlapScorer(), top_n=1)
    assert integration.ids(integration.run(component, ITERABLES[form](integration.items()))) == ["answer"]
    assert integration.ids(await integration.arun(component, ITERABLES[form](integration.items()))) == ["answer"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (5, "got int: 5"),
        ("a text", "got str: 'a text'"),
        (["a text"], "got str at position 0"),
        ([None], "got NoneType at position 0"),
        ([{"page_content": "a text"}], "got dict at position 0"),
        ([TextNode(text="without a score")], "got TextNode at position 0"),
    ],
    ids=named,
)
async def test_wrong_items_are_refused_before_a_model_is_loaded(
    integration: LangChain, loader: Loader, items: Any, message: str
) -> None:
    """The error says what came and at which position, on both paths."""
    component = integration.create(model="some/model")
    with pytest.raises(InputError, match=message):
        integration.run(component, items)
    with pytest.raises(InputError, match=message):
        await integration.arun(component, items)
    assert loader.names == []


@pytest.mark.parametrize("query", [5, b"swallows", ["swallows"]], ids=named)
async def test_wrong_query_is_refused_before_a_model_is_loaded(
    integration: LangChain, loader: Loader, query: Any
) -> None:
    """A query that is no string is an ``InputError``, on both paths."""
    component = integration.create(model="some/model")
    with pytest.raises(InputError, match="the query must be a string"):
        integration.run(component, query=query)
    with pytest.raises(InputError, match="the query must be a string"):
        await integration.arun(component, query=query)
    assert loader.names == []


def test_missing_and_swapped_arguments_are_refused(integration: LangChain, loader: Loader) -> None:
    """None for the items or the query, or both in the wrong order, is an ``InputError`` with the right order."""
    component, items = integration.create(model="some/model"), integration.items()
    call = component.compress_documents if type(integration) is LangChain else component.postprocess_nodes
    for arguments in ((None, QUESTION), (items, None), (QUESTION, items)):
        with pytest.raises(InputError):
            call(*arguments)
        with pytest.raises(InputError):
            component.rank(*arguments)
    with pytest.raises(InputError, match=r"\((documents|nodes), query"):
        call(QUESTION, items)
    assert loader.names == []


def test_query_as_a_string_in_place_of_the_bundle_is_refused() -> None:
    """LlamaIndex's second positional argument is a ``QueryBundle``, and the error says how to give a string."""
    integration = LlamaIndex()
    with pytest.raises(InputError, match=r"query_str=.*got 'swallows'"):
        integration.create(model=OverlapScorer()).postprocess_nodes(integration.items(), "swallows")


@pytest.mark.parametrize("scores", [[1.0], [], 1.0, [1.0] * 6], ids=named)
def test_wrong_number_of_first_stage_scores_is_refused(loader: Loader, scores: Any) -> None:
    """``rank(scores=...)`` needs one score for each document."""
    with pytest.raises(InputError, match=r"scores must have one number for each of 5 documents, got \d"):
        SecondPassRerank().rank(LangChain().items(), QUESTION, scores=scores)
    assert loader.names == []


def test_first_stage_scores_may_come_from_a_generator() -> None:
    """``rank(scores=...)`` accepts any iterable of numbers."""
    scores = (float(number) for number in range(5))
    ranking = SecondPassRerank(reranker=Reranker(OverlapScorer())).rank(LangChain().items(), QUESTION, scores=scores)
    assert ranking[0].candidate.score == 2.0

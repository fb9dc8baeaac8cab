"""Fuzzing of the public entries: whatever comes in, the answer is a result or an error of this package."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from secondpass import Candidate, ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.errors import SecondpassError
from secondpass.langchain import SecondPassRerank as LangChainRerank
from secondpass.llama_index import SecondPassRerank as LlamaIndexRerank

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
texts = st.lists(st.text(st.characters(exclude_categories=()), max_size=20) | anything, max_size=4)
SELECTION = ("top_n", "min_probability", "min_keep", "max_unscored", "budget", "policy", "duplicates", "order", "near")
INTEGRATION = ("model", "top_n", "budget", "min_probability", "device", "threads", "policy", "windows", "deadline_ms")


@given(query=anything, items=texts | anything)
def test_reranking_anything(query: Any, items: Any) -> None:
    """A query and candidates of any type."""
    try:
        ranking = Reranker(OverlapScorer()).rerank(query, items)
    except SecondpassError:
        return
    json.dumps(ranking.to_dict())
    assert ranking.report()


@given(given=st.dictionaries(st.sampled_from(SELECTION), anything, max_size=3))
def test_selections_of_anything(given: dict[str, Any]) -> None:
    """Settings of any type and value."""
    try:
        selection = Selection(**given)
    except SecondpassError:
        return
    assert Reranker(OverlapScorer(), selection=selection).rerank("a fox", ["a fox", "a dog"])


@given(given=st.dictionaries(st.sampled_from(("max_tokens", "counter", "separator", "template")), anything))
def test_budgets_of_anything(given: dict[str, Any]) -> None:
    """Settings of any type and value."""
    try:
        budget = ContextBudget(**{"max_tokens": 9, **given})
    except SecondpassError:
        return
    assert Reranker(OverlapScorer(), selection=Selection(budget=budget)).rerank("a fox", ["a fox"]).tokens is not None


@given(given=st.dictionaries(st.sampled_from(("id", "score", "rank", "signals", "source", "metadata")), anything))
def test_candidates_of_anything(given: dict[str, Any]) -> None:
    """Fields of any type and value."""
    try:
        candidate = Candidate("a fox", **given)
    except SecondpassError:
        return
    json.dumps(Reranker(OverlapScorer()).rerank("a fox", [candidate]).to_dict())


@given(given=st.dictionaries(st.sampled_from(INTEGRATION), anything, max_size=3))
@settings(max_examples=30)
def test_integrations_of_anything(given: dict[str, Any]) -> None:
    """Settings of any type and value; the model is given, so that none is looked for."""
    for integration in (LangChainRerank, LlamaIndexRerank):
        try:
            integration(**{"model": OverlapScorer(), **given})
        except SecondpassError:
            continue


@given(query=anything, items=anything, metadata=st.dictionaries(st.text(max_size=4), anything, max_size=3))
@settings(max_examples=30)
def test_documents_and_nodes_of_anything(query: Any, items: Any, metadata: dict[str, Any]) -> None:
    """Calls with arguments of any type, and with any metadata."""
    compressor, postprocessor = LangChainRerank(model=OverlapScorer()), LlamaIndexRerank(model=OverlapScorer())
    assert compressor.compress_documents([Document("a fox", metadata=metadata)], "a fox")
    node = NodeWithScore(node=TextNode(text="a fox", metadata=metadata))
    assert postprocessor.postprocess_nodes([node], QueryBundle("a fox"))
    for call in (lambda: compressor.compress_documents(items, query), lambda: postprocessor.rank(items, query)):
        try:
            call()
        except SecondpassError:
            continue

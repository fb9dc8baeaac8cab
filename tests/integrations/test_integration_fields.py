"""Fields of documents in both integrations: the text that is scored, and signals for fusion."""

import pickle
from datetime import UTC, date, datetime
from typing import Any

import pytest
from integration_support import LangChain
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from secondpass import OverlapScorer, Pair, WeightedSum
from secondpass.errors import ConfigurationError, InputError

QUERY = "red kettle"
PRODUCTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lamp": ("A lamp with a red shade.", {"title": "Lamp", "sold": 5, "added": "2026-05-01"}),
    "kettle": ("Boils a litre.", {"title": "Red kettle", "sold": "40", "added": date(2026, 1, 1)}),
    "plain": ("A kettle.", {"title": None, "sold": None}),
}


class ReadingScorer(OverlapScorer):
    """Keeps the texts that it scores."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def score_pairs(self, pairs: Any, **options: Any) -> Any:
        self.texts += [pair.text for pair in pairs]
        assert all(isinstance(pair, Pair) for pair in pairs)
        return super().score_pairs(pairs, **options)


def items(integration: LangChain, products: dict[str, tuple[str, dict[str, Any]]] = PRODUCTS) -> list[Any]:
    if integration.create.__module__ == "secondpass.llama_index":
        nodes = [TextNode(text=text, id_=key, metadata=fields) for key, (text, fields) in products.items()]
        return [NodeWithScore(node=node, score=0.5) for node in nodes]
    return [Document(text, id=key, metadata=fields) for key, (text, fields) in products.items()]


def test_template_over_fields_is_what_the_model_reads(integration: LangChain) -> None:
    """The model reads the filled template, missing fields empty; the documents' own texts come back."""
    scorer = ReadingScorer()
    component = integration.create(model=scorer, score_text="{title}. {text}")
    kept = integration.run(component, items(integration), QUERY)
    assert scorer.texts == ["Lamp. A lamp with a red shade.", "Red kettle. Boils a litre.", ". A kettle."]
    assert integration.ids(kept)[0] == "kettle"
    own = kept[0].node.text if hasattr(kept[0], "node") else kept[0].page_content
    assert own == "Boils a litre."


def test_field_that_no_document_has_is_an_error(integration: LangChain) -> None:
    """A misspelt field is an error that lists the fields there are; without documents there is nothing to say."""
    component = integration.create(model=OverlapScorer(), score_text="{titel}. {text}")
    with pytest.raises(ConfigurationError, match=r"'titel', and none of 3 documents has it.*'title'"):
        integration.run(component, items(integration), QUERY)
    assert integration.run(component, [], QUERY) == []


def test_document_without_any_of_the_fields_follows_the_scored(integration: LangChain) -> None:
    """A product without a title has nothing to score but a text to keep; a blank one is dropped."""
    products = PRODUCTS | {"bare": (" ", {})}
    component = integration.create(model=OverlapScorer(), score_text="{title}", min_probability=0.1)
    ranking = component.rank(items(integration, products), QUERY)
    assert [item.candidate.id for item in ranking.kept] == ["kettle", "plain"]
    assert [(item.candidate.id, str(item.reason)) for item in ranking.dropped][-1] == ("bare", "invalid")
    assert ranking.degraded is None
    assert integration.entries(integration.run(component, items(integration), QUERY))[-1]["unscored"] == "empty"


@pytest.mark.parametrize("template", ["", "no field", "{}", "{0}", "{text!r}", "{price:.2f}", "{a.b}", "{", 7])
def test_template_that_cannot_be_filled_is_refused(integration: LangChain, template: Any) -> None:
    """A template needs at least one field, and bare names alone."""
    with pytest.raises(ConfigurationError, match="score_text"):
        integration.create(model=OverlapScorer(), score_text=template)


@pytest.mark.parametrize(("key", "best"), [("sold", "kettle"), ("added", "lamp")])
def test_metadata_keys_become_signals(integration: LangChain, key: str, best: str) -> None:
    """Numbers, numbers in strings and dates are signals by their keys; a document without one gets nothing for it."""
    fusion = WeightedSum(alpha=1.0, weights={key: 1.0})
    component = integration.create(model=OverlapScorer(), signal_keys=(key,), fusion=fusion)
    kept = integration.run(component, items(integration), QUERY)
    assert integration.ids(kept)[0] == best
    assert integration.ids(kept)[-1] == "plain"


def test_signal_that_is_no_number_names_document_and_value(integration: LangChain) -> None:
    """A price such as "$12" is an error that names the document, before anything is scored."""
    component = integration.create(model=OverlapScorer(), signal_keys=["price"])
    with pytest.raises(InputError, match=r"'price' of document 'lamp' is '\$12'"):
        integration.run(component, items(integration, {"lamp": ("A lamp.", {"price": "$12"})}), QUERY)


def test_dates_and_times_are_on_one_scale(integration: LangChain) -> None:
    """A date, a time with or without zone, and both as strings are seconds since 1970."""
    moments: list[Any] = [date(1970, 1, 2), datetime(1970, 1, 2, tzinfo=UTC), "1970-01-02", "1970-01-02T00:00:00+00:00"]
    products = {str(number): (f"text {number}", {"added": moment}) for number, moment in enumerate(moments)}
    ranking = integration.create(model=OverlapScorer(), signal_keys=["added"]).rank(items(integration, products), "x")
    assert {item.candidate.signals["added"] for item in (*ranking.kept, *ranking.dropped)} == {86400.0}


def test_both_settings_survive_pickling(integration: LangChain) -> None:
    """Template and keys are plain settings, and a copy from another process scores the same texts."""
    component = integration.create(model="nano", score_text="{title}. {text}", signal_keys=["sold"])
    copy = pickle.loads(pickle.dumps(component))
    assert (copy.score_text, list(copy.signal_keys)) == ("{title}. {text}", ["sold"])
    before, after = (c._candidates(items(integration)) for c in (component, copy))
    assert [candidate.text for candidate in before] == [candidate.text for candidate in after]


def test_given_metadata_mode_decides_the_field_text() -> None:
    """In LlamaIndex ``{text}`` is the node's text alone, or its form in the mode that is given."""
    from secondpass.llama_index import SecondPassRerank

    node = NodeWithScore(node=TextNode(text="Boils.", metadata={"title": "Kettle"}))
    plain = SecondPassRerank(model=OverlapScorer(), score_text="<{text}>")
    given = SecondPassRerank(model=OverlapScorer(), score_text="<{text}>", metadata_mode=MetadataMode.ALL)
    assert plain.rank([node], QUERY).kept[0].candidate.text == "<Boils.>"
    assert given.rank([node], QUERY).kept[0].candidate.text == "<title: Kettle\n\nBoils.>"

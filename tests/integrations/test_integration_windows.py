"""Long texts in both integrations: windows, and extraction with the bundled ``nano`` model."""

from typing import Any

import pytest
from integration_support import LangChain, Loader
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from secondpass import ContextBudget, NamedScorer, OverlapScorer, Reranker, Windowed, Windows
from secondpass.errors import ConfigurationError
from secondpass.langchain import SecondPassRerank as ForLangChain
from secondpass.llama_index import SecondPassRerank as ForLlamaIndex

QUERY = "How far does the arctic tern fly each year?"
FACT = "The arctic tern flies about seventy thousand kilometres from pole to pole each year."
FILLER = "The museum in the town shows old ships. Its café sells soup and bread. Visitors come by bus in summer. " * 9
LONG = f"{FILLER}{FACT} {FILLER}"
OTHER = "Swifts sleep in the air. They rarely land. " * 20


def text_of(item: Any) -> str:
    """Return what the LLM reads of a document or a node."""
    return item.page_content if isinstance(item, Document) else item.node.get_content(metadata_mode=MetadataMode.LLM)


def test_extraction_needs_no_other_setting(integration: LangChain) -> None:
    """A budget and ``policy="extract"`` put a fact from the middle of a long text into a small context."""
    component = integration.create(model="nano", budget=160, policy="extract")
    results = integration.run(component, integration.items({"other": OTHER, "long": LONG}), QUERY)
    best = next(item for item in results if FACT in text_of(item))
    entry = integration.entries([best])[0]
    assert integration.ids([best]) == ["long"]
    assert entry["rank"] == 1
    assert any(LONG[start:end] in text_of(best) and FACT in LONG[start:end] for start, end in entry["spans"])
    assert FACT in LONG[slice(*entry["best_window"])]
    ContextBudget(160).check("\n\n".join(map(text_of, results)))


def test_extraction_leaves_the_callers_objects_alone(integration: LangChain) -> None:
    """The documents or nodes that went in keep their texts."""
    items = integration.items({"other": OTHER, "long": LONG})
    before = [text_of(item) for item in items]
    integration.run(integration.create(model="nano", budget=160, policy="extract"), items, QUERY)
    assert [text_of(item) for item in items] == before


def test_windows_read_what_the_model_would_cut_off(integration: LangChain) -> None:
    """With ``windows=True`` the end of a long text counts, and nothing is reported as truncated."""
    texts = {"long": FILLER * 4 + FACT, "other": OTHER}
    (plain,) = integration.entries(
        integration.run(integration.create(model="nano", top_n=1), integration.items(texts), QUERY)
    )
    (entry,) = integration.entries(
        integration.run(integration.create(model="nano", top_n=1, windows=True), integration.items(texts), QUERY)
    )
    assert entry["score"] > plain["score"] + 3
    assert "truncated" not in entry
    assert FACT in texts["long"][slice(*entry["best_window"])]


def test_windows_are_a_setting_that_can_be_serialised(integration: LangChain) -> None:
    """Windows come back from plain data, as a record or as True."""
    for given, plain in (
        (True, True),
        (
            Windows(64, max_windows=4),
            {"max_tokens": 64, "overlap": 0.2, "max_windows": 4, "pooling": "max", "mean_of": 3},
        ),
    ):
        component = integration.create(windows=given)
        assert component.settings()["windows"] == plain
        assert integration.create(windows=plain).windows == given


def test_windows_wrap_the_scorer_anew_when_they_change(integration: LangChain, loader: Loader) -> None:
    """Changing the setting after the first call takes effect."""
    component = integration.create(model="some/model")
    assert isinstance(component.shared_reranker().scorer, NamedScorer)
    component.windows = Windows(64)
    scorer = component.shared_reranker().scorer
    assert isinstance(scorer, Windowed)
    assert scorer.windows == Windows(64)


def test_windows_beside_a_reranker_are_refused(integration: LangChain) -> None:
    """A live reranker has its scorer: windows are set there."""
    with pytest.raises(ConfigurationError, match="windows has no effect together with a loaded reranker"):
        integration.over(OverlapScorer(), {"windows": True})


def test_invalid_windows_are_a_configuration_error(integration: LangChain) -> None:
    """What must hold is said, also where the setting is plain data."""
    with pytest.raises(ConfigurationError, match="max_windows must be a whole number from 1"):
        integration.create(windows={"max_windows": 0})


def test_a_shared_reranker_extracts_from_the_windows_that_it_has() -> None:
    """Windows whose size is set are used for extraction as they are."""
    reranker = Reranker(Windowed(OverlapScorer(), Windows(8, overlap=0)))
    compressor = ForLangChain(reranker=reranker, budget=60, policy="extract")
    (document,) = compressor.compress_documents([Document(page_content=LONG)], "arctic tern")
    assert "The arctic tern flies about seventy" in document.page_content
    assert "stages" not in document.metadata


def nodes(text: str, **metadata: str) -> list[NodeWithScore]:
    """Return one node that starts at character 1,000 of its document."""
    node = TextNode(text=text, id_="long", metadata=metadata, start_char_idx=1_000, end_char_idx=1_000 + len(text))
    return [NodeWithScore(node=node, score=0.5)]


def extracted(items: list[NodeWithScore], budget: int = 160) -> TextNode:
    """Return the node that an extraction in windows of 40 words gives."""
    reranker = Reranker(Windowed(OverlapScorer(), Windows(40, overlap=0)))
    kept = ForLlamaIndex(reranker=reranker, budget=budget, policy="extract").postprocess_nodes(items, query_str=QUERY)
    node = kept[0].node
    assert isinstance(node, TextNode)
    return node


def test_a_node_with_one_extract_has_its_offsets() -> None:
    """The character offsets of the node are those of the extract in the document."""
    node = extracted(nodes(LONG), budget=80)
    assert node.start_char_idx is not None
    assert LONG[node.start_char_idx - 1_000 : (node.end_char_idx or 0) - 1_000] == node.text
    assert FACT in node.text


def test_a_node_with_several_extracts_has_no_offsets() -> None:
    """Offsets of one range would be wrong; the spans are in the metadata."""
    node = extracted(nodes(f"{FACT} {FILLER} {FACT}"), budget=160)
    assert (node.start_char_idx, node.end_char_idx) == (None, None)
    assert len(node.metadata["secondpass"]["spans"]) == 2


def test_a_nodes_metadata_stays_in_front_of_its_extract() -> None:
    """The LLM reads the header that the node's template writes, and the extract."""
    node = extracted(nodes(LONG, file="birds.txt"), budget=80)
    assert node.get_content(metadata_mode=MetadataMode.LLM) == f"file: birds.txt\n\n{node.text}"
    (span,) = node.metadata["secondpass"]["spans"]
    assert LONG[slice(*span)] == node.text


def test_an_extract_that_the_template_cant_write_stands_alone() -> None:
    """Where a node's template writes something behind the text, the metadata is left out of the prompt."""
    items = nodes(LONG, file="birds.txt")
    assert isinstance(items[0].node, TextNode)
    items[0].node.text_template = "{content}\n--\n{metadata_str}"
    node = extracted(items, budget=2_000)
    assert node.get_content(metadata_mode=MetadataMode.LLM).startswith("The museum")

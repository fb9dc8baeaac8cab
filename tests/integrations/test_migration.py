"""Uses of other rerankers, ported by import and class name: what the migration page says still has to change."""

from pathlib import Path

import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from secondpass.errors import ConfigurationError
from secondpass.langchain import SecondPassRerank as LangChainRerank
from secondpass.llama_index import SecondPassRerank as LlamaIndexRerank

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
QUERY = "how long does a flea live?"
TEXTS = ["Dogs bark.", "The market opens at nine.", "Adult fleas live for two to three months.", "Cats purr."]
DOCUMENTS = [Document(page_content=text) for text in TEXTS]


class Lengths(BaseCrossEncoder):
    """A hosted or custom cross-encoder of somebody's: longer texts are better."""

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(len(text)) for _, text in text_pairs]


def test_cross_encoder_reranker_needs_nothing_else() -> None:
    """``CrossEncoderReranker``'s arguments work unchanged, with its own kind of model."""
    kept = LangChainRerank(model=Lengths(), top_n=3).compress_documents(DOCUMENTS, QUERY)
    assert [document.page_content for document in kept] == sorted(TEXTS, key=len, reverse=True)[:3]


def test_flashrank_rerank_needs_another_threshold() -> None:
    """``FlashrankRerank``'s threshold is refused with the name that replaces it; then the default model answers."""
    with pytest.raises(ConfigurationError, match=r"score_threshold.*did you mean min_probability"):
        LangChainRerank(top_n=3, score_threshold=0.1)
    (best,) = LangChainRerank(top_n=3, min_probability=0.1).compress_documents(DOCUMENTS, QUERY)
    assert best.page_content == TEXTS[2]


def test_cohere_rerank_needs_another_model() -> None:
    """A hosted model's name is an error that lists the bundled ones, before any question is answered."""
    with pytest.raises(ConfigurationError, match=r"bundled model \(fast, nano, small\)"):
        LangChainRerank(model="rerank-v3.5", top_n=3).warmup()


def test_sentence_transformer_rerank_needs_nothing_else(torch_checkpoint: Path) -> None:
    """``SentenceTransformerRerank``'s arguments work unchanged."""
    reranker = LlamaIndexRerank(
        model=str(torch_checkpoint), top_n=3, device="cpu", keep_retrieval_score=True, trust_remote_code=False
    )
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    kept = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert len(kept) == 3
    assert (kept[0].text, kept[0].metadata["retrieval_score"]) == (TEXTS[2], 0.5)


def test_the_page_lists_each_of_them() -> None:
    """Every port that is tested here is on the page."""
    page = PAGE.read_text(encoding="utf-8")
    names = ("CrossEncoderReranker", "FlashrankRerank", "CohereRerank", "SentenceTransformerRerank")
    assert all(f"{name}(" in page for name in names)

"""Each example runs as its page says, on few texts with ``nano``; the pages show these programs as they are."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="the group examples isn't installed")
pytest.importorskip("langgraph", reason="the group examples isn't installed")
pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
from examples import (
    cascade,
    conversation_langgraph,
    conversation_llama_index,
    faq_matching,
    hard_pairs,
    hybrid_search,
    product_search,
    production_search,
    question_answering,
    score_fusion,
    two_stage_search,
    when_not_to_rerank,
)

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path for path in (ROOT / "examples").glob("*.py") if path.stem not in ("__init__", "__main__", "common")
)
Topics = Sequence[str]
Capture = pytest.CaptureFixture[str]


def test_two_stage_search_prints_both_scores_and_times_of_both_stores(topics: Topics, capsys: Capture) -> None:
    """The results have both ranks and scores, and each store has a line for each depth."""
    two_stage_search.main(("nano",), topics, depths=(5, 100))
    printed = capsys.readouterr().out
    assert "With Statement Context" in printed or 'The "with" statement' in printed
    assert len(re.findall(r"^nano +(?:chroma|faiss) +\d+ +\d+ +\d+$", printed, re.MULTILINE)) == 4


def test_both_stores_return_the_same_candidates(topics: Topics) -> None:
    """Chroma's approximate index and FAISS' exact one agree on the order, with the cosine as score."""
    texts = two_stage_search.passages(topics)
    asked = two_stage_search.QUESTION
    chroma, faiss = (
        two_stage_search.ChromaIndex(texts).search(asked, 10),
        two_stage_search.FaissIndex(texts).search(asked, 10),
    )
    assert [item.id for item in chroma] == [item.id for item in faiss]
    assert [item.score for item in chroma] == pytest.approx([item.score for item in faiss], abs=1e-4)


def test_hybrids_of_all_three_forms_answer_the_question(topics: Topics, capsys: Capture) -> None:
    """Without a framework, in LangChain and in LlamaIndex, the reranked hybrid has the answer first."""
    hybrid_search.main("nano", topics, depth=10)
    printed = capsys.readouterr().out
    for system in ("RRF, reranked", "EnsembleRetriever, reranked", "QueryFusionRetriever, reranked"):
        assert re.search(rf"{system} +power#1", printed)


def test_score_fusion_prints_every_rule(topics: Topics, capsys: Capture) -> None:
    """Each rule has its measure on both first stages, and the scales of the scores are shown."""
    score_fusion.main("nano", topics, depth=5)
    printed = capsys.readouterr().out
    assert "logits: " in printed
    assert all(
        re.search(rf"^{re.escape(rule)} +[01]\.\d+ +[01]\.\d+$", printed, re.MULTILINE) for rule in score_fusion.RULES
    )


def test_production_search_prints_the_whole_checklist(topics: Topics, capsys: Capture) -> None:
    """Percentiles, a cache that outlives a restart, fallback, shadow, edge cases, measures and manifest are printed."""
    production_search.main("nano", "nano", topics, depth=5, limit=3)
    printed = capsys.readouterr().out
    for part in (
        "p95",
        "'complete': 3",
        "'hits': 15, 'misses': 0",
        "shadow nano: 1.00",
        "'answered_by': 'nano'",
        "deadline 1 ms, nothing cached: deadline",
        "empty query",
        "nDCG@10",
        "texts_sha256",
    ):
        assert part in printed


def test_question_answering_cites_the_range_of_its_answer(topics: Topics) -> None:
    """The cited ranges of the source, in their order, are the answer's text."""
    texts = question_answering.passages(topics)
    found = question_answering.QuestionAnswering(texts, "nano").answer(
        "is the power operator left or right associative?", 5
    )
    assert found is not None
    assert " [...] ".join(texts[found.source][start:end] for start, end in found.spans) == found.text


def test_cascade_scores_few_candidates_with_the_precise_model(topics: Topics, capsys: Capture) -> None:
    """Each model alone and both in a row are measured."""
    cascade.main(("nano", "small"), topics[:2], depth=6, keeps=(2,))
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in ("nano", "small", "both, keep 2"))


def test_hard_pairs_counts_each_kind_and_system(capsys: Capture) -> None:
    """The table has a line for each kind, and the product codes are what every system can do."""
    hard_pairs.main(("nano",))
    printed = capsys.readouterr().out
    assert re.search(r"^code +8 +8 +8 +8$", printed, re.MULTILINE)
    assert re.search(r"^all +48 ", printed, re.MULTILINE)


@pytest.mark.parametrize("conversation", [conversation_langgraph, conversation_llama_index])
def test_conversation_keeps_history_and_context_in_one_budget(
    conversation: object, topics: Topics, capsys: Capture
) -> None:
    """At each turn the history and the context take no more than the budget, and the second has a history."""
    conversation.main("nano", topics, max_tokens=300)  # type: ignore[attr-defined]
    counts = re.findall(r"history (\d+) \+ context (\d+) of 300", capsys.readouterr().out)
    assert [int(history) > 0 for history, _ in counts] == [False, True]
    assert all(0 < int(context) <= 300 - int(history) for history, context in counts)


def test_faq_and_products_print_their_tables(capsys: Capture) -> None:
    """Both run on their own data."""
    faq_matching.main("nano", limit=2)
    product_search.main("nano", product_search.QUESTIONS[:1])
    printed = capsys.readouterr().out
    assert "rightly none" in printed
    assert "no match: 0 products, and no error" in printed


def test_when_not_to_rerank_prints_the_cost_of_a_pair(topics: Topics, capsys: Capture) -> None:
    """What a pair costs, and what follows for a limit and a corpus, is measured."""
    when_not_to_rerank.main(("nano",), topics, count=5)
    printed = capsys.readouterr().out
    assert re.search(r"nano: \d+\.\d\d a pair; \d+ pairs in 50 ms", printed)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_page_shows_the_program(program: Path) -> None:
    """A page in docs/recipes holds the program as it is."""
    pages = (path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "recipes").glob("*.md"))
    assert any(program.read_text(encoding="utf-8") in page for page in pages)

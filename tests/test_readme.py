"""The README's code runs as it stands, with the bundled model."""

import re
from pathlib import Path

import pytest

from secondpass import Reranker

README = Path(__file__).parents[1] / "README.md"
TEXTS = [
    "The adult flea lives for two to three months if it finds a host; without one it starves within two weeks.",
    "Fleas are wingless insects that feed on the blood of mammals and birds.",
    "A flea can live up to a year under the right conditions.",
    "A flea can live up to a year under the right conditions.",
    "The market hall opens at nine o'clock and closes at six in the evening.",
    "Flea eggs hatch within two days to two weeks, and the larvae spin cocoons and wait there for a host.",
]


def block(name: str) -> str:
    """Return one of the README's Python blocks."""
    found = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise LookupError(name)
    return found.group(1)


def test_the_core_block_keeps_what_fits_and_reports_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The plain Python block prints a context within its budget, and a report that names each reason."""
    names: dict[str, object] = {"texts": TEXTS}
    exec(block("core"), names)
    printed = capsys.readouterr().out
    assert "A flea can live up to a year" in printed
    assert all(reason in printed for reason in ("over budget", "duplicate", "below threshold"))


def test_the_langchain_block_runs_over_a_real_store(capsys: pytest.CaptureFixture[str]) -> None:
    """The LangChain block answers from a vector store and prints the scores of the best."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    names: dict[str, object] = {
        "vectorstore": InMemoryVectorStore.from_texts(TEXTS, DeterministicFakeEmbedding(size=16))
    }
    exec(block("langchain"), names)
    assert "rank_before" in capsys.readouterr().out


def test_the_llama_index_block_runs_in_a_query_engine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The LlamaIndex block answers through a query engine, with the best text in the prompt of a mock model."""
    from llama_index.core import Document, MockEmbedding, Settings, VectorStoreIndex
    from llama_index.core.llms import MockLLM

    monkeypatch.setattr(Settings, "_llm", MockLLM())
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in TEXTS], embed_model=MockEmbedding(embed_dim=8)
    )
    exec(block("llama_index"), {"index": index})
    assert "two to three months" in capsys.readouterr().out


def test_the_evaluation_block_measures_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    """The evaluation block asks a vector store, and prints measures without and with the second pass."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    store.add_texts(TEXTS, ids=[f"flea-{number}" for number in range(len(TEXTS))])
    exec(block("evaluation"), {"vectorstore": store})
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("nDCG@10", "RR@10", "R@100", "small"))


def test_the_trust_block_fits_a_reranker() -> None:
    """The trust block fits everything on judged questions, and the reranker says whether they are answered."""
    from secondpass import Candidate, OverlapScorer
    from secondpass.evaluation import Collection

    corpus = {f"{n}-{part}": f"number {n} {part}" for n in range(60) for part in ("is prime", "is odd", "is even")}
    run = {
        f"q{n}": [Candidate(corpus[key], id=key) for key in (f"{n}-is prime", f"{n}-is odd", f"{(n + 1) % 60}-is odd")]
        for n in range(60)
    }
    queries = {f"q{n}": f"is {n} odd" for n in range(60)}
    qrels = {f"q{n}": {f"{n}-is odd": 1} for n in range(60)}
    names: dict[str, object] = {"scorer": OverlapScorer(), "collection": Collection("odd", queries, corpus, qrels, run)}
    exec(block("trust"), names)
    reranker = names["reranker"]
    assert isinstance(reranker, Reranker)
    answerable = reranker.rerank("is 7 odd", run["q7"]).answerable
    assert answerable is not None
    assert 0 < answerable < 1


def test_the_scorer_block_ranks_with_a_scorer_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A scorer of ten lines reranks."""
    exec(block("scorer"), {})
    assert capsys.readouterr().out.startswith("A flea lives for months.")


def test_the_audit_block_records_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit block writes a record that says why each candidate was kept or dropped."""
    from secondpass.observe import read_records

    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"texts": TEXTS}
    exec(block("audit"), names)
    names["log"].flush()  # type: ignore[attr-defined]
    [record] = read_records(tmp_path / "audit.db")
    assert len(record["candidates"]) == len(TEXTS)
    assert "Flea" not in str(record["candidates"])

"""Chains and query engines that act on ``answerable``."""

from collections.abc import Sequence

import pytest
from llama_index.core import MockEmbedding
from llama_index.core.llms import MockLLM
from worlds import Scripted

from examples.nothing_found import NOTHING, TEXTS, chain, query_engine
from secondpass import Call, Reranker, langchain, llama_index
from secondpass.calibration import Answerability
from secondpass.records import Pair, Scored
from secondpass.scorers.calibrated import Calibrated

SURE = Answerability("scripted", (1.0, 0.0, 0.0, 0.0), 0.0)


class ByQuestion(Scripted):
    """Gives the first text a high score where the question is about fleas."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.script = {TEXTS[0]: 4.0 if "flea" in pairs[0].query else -5.0} | dict.fromkeys(TEXTS[1:], -6.0)
        return super().score_pairs(pairs)


@pytest.fixture
def reranker() -> Reranker:
    return Reranker(Calibrated(ByQuestion({}), answerability=SURE))


def test_a_langchain_branch_says_that_nothing_was_found(reranker: Reranker) -> None:
    """The branch answers where an answer is probable, and says so where it isn't."""
    answers = chain(langchain.SecondPassRerank(reranker=reranker, top_n=2))
    assert answers.invoke("how long does a flea live?") == TEXTS[0]
    assert answers.invoke("who won?") == NOTHING


def test_a_llama_index_engine_gives_its_empty_response(reranker: Reranker) -> None:
    """The engine answers with nodes where an answer is probable, and else without any, and without an LLM."""
    integration = llama_index.SecondPassRerank(reranker=reranker, top_n=2)
    engine = query_engine(integration, MockEmbedding(embed_dim=4), MockLLM())
    assert TEXTS[0] in str(engine.query("how long does a flea live?"))
    refused = engine.query("who won?")
    assert refused.source_nodes == []
    assert str(refused) == "Empty Response"


def test_documents_carry_the_probability(reranker: Reranker) -> None:
    """Each document's record holds it, for chains that have documents alone."""
    from langchain_core.documents import Document

    integration = langchain.SecondPassRerank(reranker=reranker, top_n=1)
    (document,) = integration.compress_documents([Document(text) for text in TEXTS], "a flea?")
    assert document.metadata["secondpass"]["answerable"] == pytest.approx(0.982, abs=0.001)

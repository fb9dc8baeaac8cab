"""A ranking for the reports."""

import pytest
from worlds import count_words

from secondpass import Candidate, ContextBudget, OverlapScorer, Ranking, Reranker, Selection


@pytest.fixture
def ranking() -> Ranking:
    """Return a ranking of a dog, a fox and the fox's copy for the query "red fox" and a budget of 4 words."""
    candidates = [
        Candidate("the old dog", id="dog", score=0.9),
        Candidate("the red fox runs", id="fox", score=0.2, source="store", payload=object()),
        Candidate("the red fox runs", id="copy"),
    ]
    selection = Selection(budget=ContextBudget(4, counter=count_words))
    return Reranker(OverlapScorer(), selection=selection).rerank("red fox", candidates)

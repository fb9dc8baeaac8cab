"""The second pass of retrieval: read every candidate with the question, keep what is worth the LLM's context."""

from secondpass.candidates import Candidate
from secondpass.fusion import ReciprocalRank, WeightedSum
from secondpass.ranking import Ranking
from secondpass.reranker import Reranker
from secondpass.scores import Call
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.registry import LoadOptions, load_scorer
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

__all__ = [
    "Call",
    "Candidate",
    "ContextBudget",
    "LoadOptions",
    "OverlapScorer",
    "Ranking",
    "ReciprocalRank",
    "Reranker",
    "Selection",
    "WeightedSum",
    "load_scorer",
]

__version__ = "0.1.0"

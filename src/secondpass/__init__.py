"""Reranking with cross-encoders, and selection within an LLM's context budget, for retrieval-augmented generation."""

from secondpass.call import Call
from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, InputError, ScoringError, SecondpassError
from secondpass.fusion import ReciprocalRank, WeightedSum
from secondpass.ranking import Dropped, Kept, Ranking, Reason
from secondpass.reranker import Reranker
from secondpass.scores import Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored, UnscoredReason, Window
from secondpass.scoring.cache import Cached
from secondpass.scoring.cascade import Cascade
from secondpass.scoring.fallback import Fallback
from secondpass.scoring.load import LoadOptions, load_scorer
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.scorer import ListScorer, Scorer
from secondpass.scoring.windows import Windowed, Windows
from secondpass.selection.adaptive import CoveredMass, LargestGap
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

__all__ = [
    "Cached",
    "Call",
    "Candidate",
    "Cascade",
    "ConfigurationError",
    "ContextBudget",
    "CoveredMass",
    "Dropped",
    "Fallback",
    "InputError",
    "Kept",
    "LargestGap",
    "ListScorer",
    "LoadOptions",
    "OverlapScorer",
    "Pair",
    "Ranking",
    "Reason",
    "ReciprocalRank",
    "Reranker",
    "Scale",
    "ScaleKind",
    "Score",
    "Scored",
    "Scorer",
    "ScoringError",
    "SecondpassError",
    "Selection",
    "Spec",
    "Unscored",
    "UnscoredReason",
    "WeightedSum",
    "Window",
    "Windowed",
    "Windows",
    "load_scorer",
]

__version__ = "0.1.0"

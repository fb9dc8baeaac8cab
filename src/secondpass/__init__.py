"""Reranking with cross-encoders, and selection within an LLM's context budget, for retrieval-augmented generation."""

from secondpass.errors import ConfigurationError, InputError, ScoringError, SecondpassError
from secondpass.fusion import ReciprocalRank, WeightedSum
from secondpass.ranking import Dropped, Kept, Ranking, Reason
from secondpass.records import (
    Call,
    Candidate,
    Pair,
    Scale,
    ScaleKind,
    Score,
    Scored,
    Spec,
    Unscored,
    UnscoredReason,
    Window,
)
from secondpass.reranker import Reranker
from secondpass.scorers.cached import Cached
from secondpass.scorers.cascade import Cascade
from secondpass.scorers.fallback import Fallback
from secondpass.scorers.load import load_scorer
from secondpass.scoring.named import NamedScorer
from secondpass.scoring.options import LoadOptions
from secondpass.scoring.scorer import ListScorer, OverlapScorer, Scorer
from secondpass.scoring.windows import Windowed, Windows
from secondpass.selection.adaptive import CoveredMass, LargestGap
from secondpass.selection.budget import ContextBudget
from secondpass.selection.call_options import call_options
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
    "NamedScorer",
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
    "call_options",
    "load_scorer",
]

__version__ = "0.1.0"

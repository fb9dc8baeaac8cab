"""The public names, and the cost of importing them."""

import subprocess
import sys

import secondpass

NAMES = {
    "reranking": {"Reranker", "Candidate", "Selection", "ContextBudget", "Call", "ReciprocalRank", "WeightedSum"},
    "one call": {"call_options"},
    "rules of selection": {"CoveredMass", "LargestGap"},
    "the result": {"Ranking", "Kept", "Dropped", "Reason"},
    "errors": {"SecondpassError", "ConfigurationError", "InputError", "ScoringError"},
    "loading a scorer": {"load_scorer", "LoadOptions", "NamedScorer", "OverlapScorer"},
    "scorers around scorers": {"Windowed", "Windows", "Window", "Cached", "Cascade", "Fallback"},
    "writing a scorer": {
        "Scorer",
        "ListScorer",
        "Pair",
        "Score",
        "Scored",
        "Unscored",
        "UnscoredReason",
        "Spec",
        "Scale",
        "ScaleKind",
    },
}
IMPORT = """
import sys
before = set(sys.modules)
import secondpass
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - sys.stdlib_module_names))
"""


def test_public_names() -> None:
    """The public names are those needed to rerank, to read the result, and to load or write a scorer."""
    assert set(secondpass.__all__) == set().union(*NAMES.values())
    assert [name for name in secondpass.__all__ if not hasattr(secondpass, name)] == []


def test_public_names_are_sorted() -> None:
    """``__all__`` is sorted, and each name is in it once."""
    assert secondpass.__all__ == sorted(set(secondpass.__all__))


def test_importing_the_package_loads_no_third_party_library() -> None:
    """In a fresh interpreter ``import secondpass`` loads itself and the standard library, and nothing else."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["secondpass"]

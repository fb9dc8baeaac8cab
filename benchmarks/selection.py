"""Milliseconds that a selection takes, and how full the budget gets, for several counters, candidates and budgets.

usage: python -m benchmarks.selection [TOKENIZER.json] [REPETITIONS]

Passages have 180 words. "near + mmr" is a selection with near-duplicates and diversity; every fifth passage is a
near-duplicate of a better one. "full" is the share of the budget that is used, where candidates were left out;
"by trial" is that share where each candidate in turn is tried with a count of the whole joined text, which takes
quadratic time and is therefore done for the smaller budgets alone. When selection itself took quadratic time, 100
candidates took 1.8 s at a budget of 32,000 tokens, and 300 candidates 14 s at 100,000.
"""

import random
import statistics
import sys
import time
from typing import Any

from tokenizers import Tokenizer

from secondpass import Candidate, ContextBudget, Selection
from secondpass.ranking import Ranked
from secondpass.records import Score
from secondpass.selection.select import Selected, select

CASES = [
    (100, 1_000),
    (100, 4_000),
    (100, 32_000),
    (300, 4_000),
    (300, 32_000),
    (300, 100_000),
    (1_000, 100_000),
    (1_000, 1_000_000),
]
SELECTIONS: dict[str, dict[str, Any]] = {
    "by relevance": {},
    "near + mmr": {"duplicates": "near", "diversity": 0.3},
}
TRIED = 4_000  # budgets up to here are filled by trial too
VOCABULARY = (
    "the retrieval of passages from a store returns many candidates, and a cross-encoder reads each one together with "
    "the question. What the model finds irrelevant is dropped; the rest is packed into the context (at most 4,096 "
    "tokens), best first. Nevertheless, uncharacteristically long passages don't always fit: they are skipped, or cut."
)


def main(tokenizer_file: str = "", repetitions: str = "7") -> None:
    """Print a row for each counter, number of candidates and budget."""
    counters: dict[str, object] = {"words": lambda text: len(text.split()), "estimate": None}
    if tokenizer_file:
        counters["tokenizers"] = Tokenizer.from_file(tokenizer_file)
    print("| counter | selection | candidates | budget | ms | kept | full | by trial |")
    print("|---|---|---|---|---|---|---|---|")
    for name, counter in counters.items():
        for candidates, max_tokens in CASES:
            for label, settings in SELECTIONS.items():
                selection = Selection(budget=ContextBudget(max_tokens, counter=counter), **settings)
                row(f"{name} | {label}", ranked(candidates), selection, int(repetitions))


def row(name: str, candidates: list[Ranked], selection: Selection, repetitions: int) -> None:
    """Print the median time of one case, and how much of the budget is used."""
    budget = selection.budget or ContextBudget(0)
    times: list[float] = []
    for _ in range(repetitions):
        started = time.perf_counter()
        selected = select(candidates, selection)
        times.append((time.perf_counter() - started) * 1000)
    figures = [f"{statistics.median(times):.1f}", str(len(selected.kept)), share(selected, budget)]
    tried = budget.max_tokens <= TRIED and not selection.diversity
    trial = f"{by_trial(candidates, budget) / budget.max_tokens:.1%}" if tried else ""
    print(f"| {name} | {len(candidates)} | {budget.max_tokens} | {' | '.join(figures)} | {trial} |", flush=True)


def ranked(candidates: int) -> list[Ranked]:
    """Return passages of 180 words on average, best first; every fifth is the one before, three words changed."""
    words = VOCABULARY.split()
    chance = random.Random(0)
    texts = [" ".join(chance.choices(words, k=chance.randint(120, 240))) for _ in range(candidates)]
    for position in range(4, candidates, 5):
        copied = texts[position - 1].split()
        for place in chance.sample(range(len(copied)), 3):
            copied[place] = chance.choice(words)
        texts[position] = " ".join(copied)
    return [
        Ranked(Candidate(text), rank - 1, Score(-float(rank)), None, None, rank) for rank, text in enumerate(texts, 1)
    ]


def share(selected: Selected, budget: ContextBudget) -> str:
    """Return how much of the budget is used, where something was left out."""
    return f"{(selected.tokens or 0) / budget.max_tokens:.1%}" if selected.dropped else ""


def by_trial(candidates: list[Ranked], budget: ContextBudget) -> int:
    """Return the tokens of the context where each candidate in turn is kept if the joined text then fits."""
    kept: list[tuple[Candidate, str]] = []
    for item in candidates:
        more = [*kept, (item.candidate, item.candidate.text)]
        if budget.counting.count(budget.join(more)) <= budget.max_tokens:
            kept = more
    return budget.counting.count(budget.join(kept))


if __name__ == "__main__":
    main(*sys.argv[1:])

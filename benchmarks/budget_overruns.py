"""How many of very many random selections exceed their budget, lose a candidate or name one that isn't kept: none.

usage: python -m benchmarks.budget_overruns [CASES] [SEED]

All settings are combined at random: policies, orders, duplicates, diversity, adaptive k, exclusion,
separators, templates, and counters by which a joined text takes as many tokens as its parts, more or fewer. The
property tests in `tests/contracts` hold the same, with fewer and smaller cases.
"""

import math
import random
import sys
from collections import Counter
from collections.abc import Callable

from secondpass import Candidate, ContextBudget, CoveredMass, LargestGap, Reason, Selection
from secondpass.ranking import Ranked
from secondpass.records import LOGIT, Score, Unscored, UnscoredReason
from secondpass.selection.order import ORDERS
from secondpass.selection.packing import POLICIES
from secondpass.selection.select import DUPLICATES, Selected, choose

WORDS = [
    "flea",
    "lives",
    "three",
    "months",
    "on",
    "a",
    "warm",
    "host",
    "1999",
    "7",
    "蚤",
    "…",
    "Dr.",
    "ends.",
    "\n\n",
    "e\u0301",
]
COUNTERS: list[Callable[[str], int] | None] = [
    None,
    len,
    lambda text: len(text.split()),
    lambda text: len(text.encode()),
    lambda text: math.isqrt(len(text)),
    lambda text: len(text.split()) + 3,
    lambda text: len(text.split()) + text.count("\n") ** 2,
    lambda text: (len(text) * 7919) % 61,
]


def main(cases: str = "100000", seed: str = "0") -> None:
    """Print how often each kind of violation occurred, and how many candidates had which fate."""
    chance = random.Random(int(seed))
    violations, fates = Counter[str](), Counter[str]()
    for _ in range(int(cases)):
        ranked = world(chance)
        selection = settings(chance)
        selected = choose(ranked, selection, [item.candidate for item in ranked if chance.random() < 0.1])
        violations.update(broken(ranked, selection, selected))
        fates.update(str(item.reason) for item in selected.dropped)
        fates["kept"] += len(selected.kept)
    print(f"{cases} cases, violations: {dict(violations) or 'none'}")
    print(", ".join(f"{fate} {count}" for fate, count in fates.most_common()))


def broken(ranked: list[Ranked], selection: Selection, selected: Selected) -> list[str]:
    """Return which contracts a selection breaks."""
    budget, kept = selection.budget, {id(item.candidate) for item in selected.kept}
    came_out = Counter(id(item.candidate) for item in (*selected.kept, *selected.dropped))
    near = selection.duplicates == "near"
    naming = [item for item in selected.dropped if item.reason is Reason.DIVERSITY]
    naming += [item for item in selected.dropped if item.reason is Reason.DUPLICATE and near]
    checks = {
        "a candidate lost": came_out != Counter(id(item.candidate) for item in ranked),
        "over top-n": selection.top_n is not None and len(selected.kept) > selection.top_n,
        "named one that isn't kept": any(id(item.because_of) not in kept for item in naming),
    }
    if budget and selected.kept:
        joined = budget.join([(item.candidate, item.text) for item in selected.kept])
        checks["another context"] = joined != selected.context
        checks["over budget"] = budget.counting.count(joined) > budget.max_tokens
    return [name for name, violated in checks.items() if violated]


def world(chance: random.Random) -> list[Ranked]:
    """Return up to 12 candidates, best first, some of which repeat a better one."""
    texts: list[str] = []
    for _ in range(chance.randint(0, 12)):
        words = chance.choices(WORDS, k=chance.randint(0, 30))
        if texts and chance.random() < 0.4:
            words = chance.choice(texts).split(" ")
            words[chance.randrange(len(words))] = chance.choice(WORDS)
        texts.append(" ".join(words))
    values = sorted((chance.gauss(0, 3) for _ in texts), reverse=True)
    ranks = chance.sample(range(1, len(texts) + 1), len(texts))
    return [
        candidate(chance, text, value, rank, index)
        for index, (text, value, rank) in enumerate(zip(texts, values, ranks, strict=True))
    ]


def candidate(chance: random.Random, text: str, value: float, rank: int, index: int) -> Ranked:
    """Return a candidate with its score, or without one."""
    source = chance.choice([None, "docs", "docs", "tickets", "web"])
    prompt = f"title\n\n{text}" if chance.random() < 0.2 else None
    item = Candidate(text, id=chance.choice([None, str(index)]), source=source, prompt_text=prompt)
    if chance.random() < 0.1:
        return Ranked(item, index, Unscored(chance.choice(list(UnscoredReason))), None, None, rank)
    return Ranked(item, index, Score(value), LOGIT.probability(value), None, rank)


def settings(chance: random.Random) -> Selection:
    """Return a selection with random settings."""
    budget = ContextBudget(
        chance.randint(0, 120),
        counter=chance.choice(COUNTERS),
        separator=chance.choice(["\n\n", "", " | ", "\n---\n"]),
        template=chance.choice(["{text}", "[{index}] {text}", "<doc id={id} from={source}>\n{text}\n</doc>"]),
    )
    policy = chance.choice(POLICIES)
    return Selection(
        top_n=chance.choice([None, None, 1, 3, 8]),
        min_probability=chance.choice([None, None, 0.1, 0.5]),
        min_keep=chance.randint(0, 2),
        max_unscored=chance.choice([None, 1]),
        budget=budget if chance.random() < 0.95 else None,
        policy=policy,
        duplicates=chance.choice(DUPLICATES),
        near=chance.choice([0.3, 0.7, 0.9]),
        diversity=chance.choice([0.0, 0.3, 1.0]),
        adaptive=chance.choice([None, None, LargestGap(), CoveredMass(0.9)]),
        order=chance.choice(ORDERS),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

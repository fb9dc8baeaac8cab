"""Relevant items per token: how many relevant candidates stand in a context of so many tokens.

usage: python -m benchmarks.relevant_per_token --assets FOLDER [--model NAME] [--questions N] [--out FILE]
           [--scores FILE]

On TREC DL 2019 (relevant from grade 2) and SciFact, BM25's best 100. LangChain's and LlamaIndex's cross-encoder
rerankers order by the same scores and keep the best N; their context is cut at the budget, and a candidate counts where
all of it stands before the cut. Of ``truncate`` and ``extract`` a candidate counts where a part of it was taken,
although a judgement is of a whole text. A figure is relevant items for 1,000 tokens of the budget, with a 95 % interval
over the questions.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.answer_in_context import BUDGETS, ROOT, SEPARATOR, TOP_N, Stored, cl100k
from benchmarks.trec_json import read_trec_json
from secondpass import Candidate, ContextBudget, Reranker, Selection, Windowed, load_scorer
from secondpass.evaluation import Collection, read_beir
from secondpass.evaluation.measures import interval
from secondpass.evaluation.settings import Sampling
from secondpass.ranking import Ranked
from secondpass.selection.select import choose

System = Callable[[int], set[str]]
"""From a budget to the ids of the candidates in the context of one question."""
OURS = {
    "fill": "fill",
    "fill, near-duplicates dropped": "fill",
    "truncate": "truncate",
    "a part of it, extract": "extract",
}


@dataclass(frozen=True)
class Asked:
    """A question with its candidates, reranked whole and in windows."""

    relevant: frozenset[str]
    candidates: Sequence[Candidate]
    whole: Sequence[Ranked]
    windows: Sequence[Ranked]


def main() -> None:
    """Measure both collections, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument(
        "--questions", type=int, default=100, help="of each collection at most, drawn with a fixed seed"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "relevant_per_token.json")
    parser.add_argument("--scores", type=Path, default=ROOT / "build" / "relevant_per_token.sqlite")
    options = parser.parse_args()
    data = options.assets / "data"
    collections = {
        "TREC DL 2019": (
            read_trec_json(data / "trec-dl" / "bm25_top100_dl19.json", data / "trec-dl" / "qrels.dl19-passage.txt"),
            2,
        ),
        "SciFact": (read_beir(data / "scifact"), 1),
    }
    options.scores.parent.mkdir(parents=True, exist_ok=True)
    scorer = Stored(load_scorer(options.model, device="cpu"), options.scores)
    figures: dict[str, Any] = {"model": options.model, "collections": {}}
    for name, (collection, relevant_from) in collections.items():
        asked = questions(collection, relevant_from, options.questions, scorer)
        figures["collections"][name] = {"questions": len(asked), "systems": measure(asked)}
        print(table(name, figures["collections"][name]), flush=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def questions(collection: Collection, relevant_from: int, most: int, scorer: Stored) -> list[Asked]:
    """Rerank the candidates of some questions."""
    keep = Selection(duplicates="keep")
    whole, windows = Reranker(scorer, selection=keep), Reranker(Windowed(scorer).for_extraction(None), selection=keep)
    chosen = random.Random(0).sample(sorted(collection.queries), min(most, len(collection.queries)))
    asked = []
    for number, key in enumerate(chosen, 1):
        candidates = collection.run[key]
        relevant = frozenset(i for i, grade in collection.qrels.get(key, {}).items() if grade >= relevant_from)
        rankings = [reranker.rerank(collection.queries[key], candidates) for reranker in (whole, windows)]
        asked.append(Asked(relevant, candidates, *((*ranking.kept, *ranking.dropped) for ranking in rankings)))
        if number % 20 == 0:
            print(f"{number} of {len(chosen)} questions", flush=True)
    return asked


def measure(asked: Sequence[Asked]) -> dict[str, dict[int, Any]]:
    """Return relevant items for 1,000 tokens, of each system at each budget."""
    encoding, sampling = cl100k(), Sampling()

    def cut(candidates: Sequence[Candidate]) -> System:
        lengths = [len(encoding.encode_ordinary(candidate.text + SEPARATOR)) for candidate in candidates]

        def inside(budget: int) -> set[str]:
            ends = (sum(lengths[: at + 1]) for at in range(len(lengths)))
            return {str(c.id) for c, end in zip(candidates, ends, strict=True) if end <= budget}

        return inside

    def ours(name: str, one: Asked) -> System:
        policy: Any = OURS[name]

        def fill(budget: int) -> set[str]:
            selection = Selection(
                budget=ContextBudget(budget, encoding, SEPARATOR),
                policy=policy,
                duplicates="near" if "near" in name else "exact",
            )
            return {
                str(k.candidate.id) for k in choose(one.windows if policy == "extract" else one.whole, selection).kept
            }

        return fill

    makers: dict[str, Callable[[Asked], System]] = {"first stage": lambda one: cut(one.candidates)}
    for top_n in TOP_N:
        name = f"LangChain's and LlamaIndex's rerankers, top {top_n}"
        makers[name] = lambda one, n=top_n: cut([item.candidate for item in one.whole[:n]])  # type: ignore[misc]
    makers |= {name: lambda one, name=name: ours(name, one) for name in OURS}  # type: ignore[misc]
    rates: dict[str, dict[int, Any]] = {}
    for name, maker in makers.items():
        systems = [(one, maker(one)) for one in asked]
        rates[name] = {
            budget: asdict(
                interval([1000 * len(system(budget) & one.relevant) / budget for one, system in systems], sampling)
            )
            for budget in BUDGETS
        }
    return rates


def table(name: str, figures: dict[str, Any]) -> str:
    """Return the figures of a collection as a Markdown table."""
    rows = [
        f"| {name}, {figures['questions']} questions | {' | '.join(map(str, BUDGETS))} |",
        "| --- |" + " --- |" * len(BUDGETS),
    ]
    for system, by_budget in figures["systems"].items():
        cells = (f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in by_budget.values())
        rows.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()

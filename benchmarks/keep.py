"""How many candidates a cascade passes on: what each ``keep`` and ``vote`` of ``fast`` loses, on TREC DL 2019.

usage: python -m benchmarks.keep --assets FOLDER [--cheap nano] [--precise small] [--risk 0.1]

Prints nDCG@10 and the share of the precise model's best ten that survives, the table of docs/benchmarks/cascade.md, and
below it the smallest ``keep`` that loses one of these ten in at most a share of the questions.
"""

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.evaluation import dl19
from secondpass import load_scorer
from secondpass.errors import ConfigurationError
from secondpass.evaluation.calibrate import question_scores
from secondpass.evaluation.measures import Measures
from secondpass.scorers.cascade import pruning_order

TOP_K = 10
KEEPS = (20, 30, 40, 50)
VOTES = (0.0, 0.25, 0.5, 1.0)
Scores = Sequence[Sequence[float]]
"""Of each question the scores of its candidates, in first-stage order."""


def main() -> None:
    """Score the candidates with both models, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True, help="holds data/trec-dl")
    parser.add_argument("--cheap", default="nano")
    parser.add_argument("--precise", default="small")
    parser.add_argument("--risk", type=float, default=0.1)
    options = parser.parse_args()
    collection = dl19(options.assets / "data")
    cheap, precise = (
        question_scores(load_scorer(name, device="cpu"), collection) for name in (options.cheap, options.precise)
    )
    orders = {vote: [pruning_order(scores, vote) for scores in cheap] for vote in VOTES}
    places = {vote: places_of_best(orders[vote], precise) for vote in VOTES}
    ids = {query: [str(item.id) for item in run] for query, run in collection.run.items()}
    measures = Measures(["nDCG@10"], collection.qrels)
    print("| keep |", " | ".join(f"vote {vote:g}" for vote in VOTES), "|\n|---" + "|---" * len(VOTES) + "|")
    for keep in KEEPS:
        row = [
            f"{ndcg(measures, ids, cascaded(orders[vote], precise, keep)):.4f} ({survival(places[vote], keep):.3f})"
            for vote in VOTES
        ]
        print(f"| {keep} |", " | ".join(row), "|", flush=True)
    smallest = ", ".join(f"{fit_keep(places[vote], options.risk)} (vote {vote:g})" for vote in VOTES)
    print(f"\nat a risk of {options.risk:g}: {smallest}")


def places_of_best(orders: Sequence[Sequence[int]], precise: Scores, top_n: int = TOP_K) -> list[list[int]]:
    """Return of each question the places, from 1, of the precise scorer's best in the pruning order, rising."""
    places = []
    for order, scores in zip(orders, precise, strict=True):
        place = {position: number for number, position in enumerate(order, start=1)}
        best = sorted(range(len(scores)), key=lambda position, scores=scores: -scores[position])[:top_n]
        places.append(sorted(place[position] for position in best))
    return places


def survival(places: Sequence[Sequence[int]], keep: int) -> float:
    """Return the mean share of the best that goes on."""
    return statistics.mean(sum(place <= keep for place in best) / len(best) for best in places if best)


def fit_keep(places: Sequence[Sequence[int]], risk: float) -> int:
    """Return the smallest ``keep`` that loses one of the best in at most a share of questions.

    With ``l`` of ``n`` questions lost the share is taken as ``(l + 1) / (n + 1)``, which bounds the expected share on
    further questions of the same kind: Angelopoulos et al., "Conformal risk control", ICLR 2024.

    :param places: Of each question the places of the precise scorer's best, see ``places_of_best``.
    :param risk: The highest share of questions in which one of them may be lost.
    :raises ConfigurationError: If there are too few questions for this risk.
    """
    allowed = math.floor(risk * (len(places) + 1)) - 1
    if allowed < 0:
        raise ConfigurationError(
            f"a risk of {risk:g} can be stated from {math.ceil(1 / risk) - 1} questions on, and there are {len(places)}"
        )
    needed = sorted(max(best, default=1) for best in places)
    return needed[len(needed) - 1 - allowed]


def cascaded(orders: Sequence[Sequence[int]], precise: Scores, keep: int) -> list[list[int]]:
    """Return each question's candidates as a cascade orders them: the kept by precise score, then the pruned."""
    return [
        [*sorted(order[:keep], key=lambda position, scores=scores: -scores[position]), *order[keep:]]
        for order, scores in zip(orders, precise, strict=True)
    ]


def ndcg(measures: Measures, ids: Mapping[str, Sequence[str]], orders: Sequence[Sequence[int]]) -> float:
    """Return the mean nDCG@10 of orders of candidates."""
    run = {query: [ids[query][position] for position in order] for query, order in zip(ids, orders, strict=True)}
    return statistics.mean(measures.per_query(run)["nDCG@10"].values())


if __name__ == "__main__":
    main()

"""The systems of docs/recipes on judged collections: what their sources promise, what is measured here.

``SECONDPASS_ASSETS=... python -m benchmarks.recipes [--queries 43] [--questions 100]``; minutes on two cores.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ir_measures
from ir_measures import nDCG

from benchmarks.trec_json import read_trec_json
from examples.question_answering import QuestionAnswering
from examples.score_fusion import RULES, best_first, score
from secondpass import load_scorer
from secondpass.evaluation import Collection, read_squad
from secondpass.fusion import FusionInput, WeightedSum, merge_lists
from secondpass.models import CASCADES
from secondpass.scorers.cascade import pruning_order

Orders = Mapping[str, Sequence[str | None]]
"""From a query's id to ids, best first."""
MODEL = RULES["model alone"]
HYBRID = WeightedSum(alpha=0.3, weights={"bm25": 1.0, "dense": 1.0})
Row = tuple[str, str, str]
"""A system, what its source promises, what is measured here."""


def ndcg(collection: Collection, orders: Orders) -> float:
    """Return the mean nDCG@10."""
    qrels = [ir_measures.Qrel(query, key, grade) for query in orders for key, grade in collection.qrels[query].items()]
    run = [
        ir_measures.ScoredDoc(query, str(key), -float(rank))
        for query, ids in orders.items()
        for rank, key in enumerate(ids)
    ]
    return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])


class Passages:
    """TREC Deep Learning 2019: BM25's and a bi-encoder's (TAS-B) top 100 passages, merged, and scored once by a model.

    :param folder: The collection's folder.
    :param queries: How many queries to take.
    """

    def __init__(self, folder: Path, queries: int) -> None:
        qrels = folder / "qrels.dl19-passage.txt"
        files = {"bm25": "bm25_top100_dl19.json", "dense": "d_bert_kd_tasb_top100_dl19.json"}
        self.lists = {name: read_trec_json(folder / file, qrels).first(queries) for name, file in files.items()}
        self.asked = [query for query in self.lists["bm25"].queries if query in self.lists["dense"].queries]
        self.merged = {
            query: merge_lists({name: of.run[query] for name, of in self.lists.items()}) for query in self.asked
        }
        self.scored: dict[str, dict[str, list[FusionInput]]] = {}
        self.cost: dict[str, float] = {}  # milliseconds of processor time for a pair

    def score(self, model: str) -> None:
        """Score every merged candidate of every query."""
        scorer = load_scorer(model)
        started = time.process_time()
        texts = self.lists["bm25"].queries
        self.scored[model] = {query: score(scorer, texts[query], self.merged[query]) for query in self.asked}
        self.cost[model] = (time.process_time() - started) * 1000 / sum(map(len, self.merged.values()))

    def inputs(self, model: str, query: str, first_stage: str) -> list[FusionInput]:
        """Return a model's scores of one list's candidates, in that list's order and with its scores."""
        values = {item.candidate.id: item.value for item in self.scored[model][query]}
        ranked = enumerate(self.lists[first_stage].run[query], start=1)
        return [FusionInput(candidate, values[candidate.id], rank) for rank, candidate in ranked]

    def measure(self, order: Callable[[str], Sequence[str | None]]) -> float:
        """Return the mean nDCG@10 of an order."""
        return ndcg(self.lists["bm25"], {query: order(query) for query in self.asked})

    def cascade(self, query: str) -> list[str | None]:
        """Return the order of ``load_scorer("fast")`` over the merged list, from the stored scores."""
        cheap, precise, keep, weight = CASCADES["fast"]
        order = pruning_order([item.value for item in self.scored[cheap][query]], weight)
        return best_first(MODEL, [self.scored[precise][query][place] for place in order[:keep]])


def passage_rows(assets: Path, queries: int) -> list[Row]:
    """Return the rows measured on passages."""
    data = Passages(assets / "data" / "trec-dl", queries)
    where = f"DL 2019, {len(data.asked)} queries, nDCG@10"
    first = {
        name: data.measure(lambda query, of=of: [item.id for item in of.run[query]])  # type: ignore[misc]
        for name, of in data.lists.items()
    }
    rrf = data.measure(lambda query: [item.id for item in data.merged[query]])
    two_stage, hybrid, weighted, fusion = [], [], [], []
    for model in ("nano", "small"):
        data.score(model)
        by_list = {
            name: data.measure(lambda query, m=model, n=name: best_first(MODEL, data.inputs(m, query, n)))  # type: ignore[misc]
            for name in data.lists
        }
        two_stage.append(f"{model} {by_list['dense']:.3f} over dense and {by_list['bm25']:.3f} over BM25")
        alone = data.measure(lambda query, m=model: best_first(MODEL, data.scored[m][query]))  # type: ignore[misc]
        mixed = data.measure(lambda query, m=model: best_first(HYBRID.fuse, data.scored[m][query]))  # type: ignore[misc]
        hybrid.append(f"{model} {alone:.3f}")
        weighted.append(f"{model} {mixed:.3f}")
        for name in data.lists:
            values = (
                data.measure(lambda query, m=model, n=name, r=rule: best_first(r, data.inputs(m, query, n)))  # type: ignore[misc]
                for rule in RULES.values()
            )
            fusion.append((f"{name}, {model}", *(f"{value:.3f}" for value in values)))
    each = len(data.merged) and sum(map(len, data.merged.values())) / len(data.merged)
    costs = ", ".join(f"{model} {cost:.1f} ms a pair" for model, cost in data.cost.items())
    cascaded = data.measure(data.cascade)
    milliseconds = data.cost["nano"] * each + data.cost["small"] * CASCADES["fast"][2]
    print("| first stage, model | " + " | ".join(RULES) + " |\n|---|" + "---|" * len(RULES))
    print("\n".join("| " + " | ".join(cells) + " |" for cells in fusion) + "\n")
    return [
        _row(
            "two-stage search",
            "a better order than the vector store's",
            f"{where}: dense {first['dense']:.3f}, BM25 {first['bm25']:.3f}",
            *two_stage,
            costs,
        ),
        _row(
            "hybrid, reranked",
            "better than BM25 or dense alone",
            f"{where}: RRF of both {rrf:.3f}; reranked",
            *hybrid,
            "weighted sum of all three",
            *weighted,
        ),
        _row("score fusion", "normalised scores beat raw ones", "the table above"),
        _row(
            "cascade `fast`",
            "nearly the large model's order at a fraction of its cost",
            f"{where}: {cascaded:.3f} over both lists, small reads {CASCADES['fast'][2]} of {each:.0f}",
            f"{milliseconds:.0f} ms a query, and {data.cost['small'] * each:.0f} for small alone",
        ),
    ]


def _row(system: str, promise: str, *measured: str) -> Row:
    return system, promise, ", ".join(measured)


def question_rows(assets: Path, questions: int) -> list[Row]:
    """Return the row measured on XQuAD, whether the answer is in the extract."""
    collection = read_squad(assets / "data" / "xquad-en" / "xquad.en.json").first(questions)
    system = QuestionAnswering(collection.corpus, "nano", min_probability=0.0)
    first, windows, lengths = 0, 0, []
    started = time.process_time()
    for query, text in collection.queries.items():
        answers = collection.answers[query]
        candidates = collection.run[query]
        first += bool(candidates) and any(answer in candidates[0].text for answer in answers)
        found = system.answer(text, 20)
        windows += found is not None and any(answer in found.text for answer in answers)
        lengths.append(len(found.text) if found else 0)
    milliseconds = (time.process_time() - started) * 1000 / len(collection)
    whole = statistics.fmean(map(len, collection.corpus.values()))
    count = len(collection)
    return [
        _row(
            "extractive question answering",
            "the answer, not a page",
            f"XQuAD, {count} questions, nano: answer in BM25's first text ({whole:.0f} characters) {first / count:.2f}",
            f"in the extract, 96 tokens at most ({statistics.fmean(lengths):.0f} characters) {windows / count:.2f}",
            f"{milliseconds:.0f} ms a question",
        )
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=43)
    parser.add_argument("--questions", type=int, default=100)
    given = parser.parse_args()
    assets = Path(os.environ["SECONDPASS_ASSETS"])
    print("Milliseconds are processor time of all threads.\n")
    rows = [*passage_rows(assets, given.queries), *question_rows(assets, given.questions)]
    print("| system | its source promises | measured here |\n|---|---|---|")
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))


if __name__ == "__main__":
    main()

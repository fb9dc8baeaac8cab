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

from examples.question_answering import QuestionAnswering
from examples.score_fusion import RULES, best_first, score
from secondpass import Candidate, ReciprocalRank, load_scorer
from secondpass.evaluation import Collection, read_squad, read_trec_json
from secondpass.fusion import FusionInput, WeightedSum, merge_lists

Orders = Mapping[str, Sequence[str | None]]
"""From a query's id to ids, best first."""
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


def passage_rows(assets: Path, queries: int) -> list[Row]:
    """Return the rows measured on TREC Deep Learning 2019: BM25's and a bi-encoder's (TAS-B) top 100 passages."""
    folder = assets / "data" / "trec-dl"
    lists = {
        name: read_trec_json(folder / f"{file}_top100_dl19.json", folder / "qrels.dl19-passage.txt").first(queries)
        for name, file in (("bm25", "bm25"), ("dense", "d_bert_kd_tasb"))
    }
    bm25, dense = lists["bm25"], lists["dense"]
    asked = [query for query in bm25.queries if query in dense.queries]
    merged = {
        query: merge_lists(
            {name: of.run[query] for name, of in lists.items()}, ReciprocalRank(weights={"bm25": 1.0, "dense": 1.0})
        )
        for query in asked
    }
    nano, small = load_scorer("nano"), load_scorer("small")
    started = time.process_time()
    scored = {query: score(nano, bm25.queries[query], merged[query]) for query in asked}
    pairs = sum(map(len, scored.values()))
    cost = (time.process_time() - started) * 1000 / pairs

    def among(query: str, of: Collection) -> list[FusionInput]:
        ids = {candidate.id: (rank, candidate) for rank, candidate in enumerate(of.run[query], start=1)}
        kept = [item for item in scored[query] if item.candidate.id in ids]
        return sorted(
            (FusionInput(ids[item.candidate.id][1], item.value, ids[item.candidate.id][0]) for item in kept),
            key=lambda item: item.rank_before,
        )

    def measured(order: Callable[[str], Sequence[str | None]]) -> float:
        return ndcg(bm25, {query: order(query) for query in asked})

    def first(of: Collection) -> float:
        return measured(lambda query: [item.id for item in of.run[query]])

    model = RULES["model alone"]
    weighted = WeightedSum(alpha=0.3, weights={"bm25": 1.0, "dense": 1.0})
    hybrid = measured(lambda query: [item.id for item in merged[query]])
    reranked = measured(lambda query: best_first(model, scored[query]))
    mixed = measured(lambda query: best_first(weighted.fuse, scored[query]))
    two_stage = measured(lambda query: best_first(model, among(query, dense)))

    def cascade(query: str) -> list[str | None]:
        kept = set(best_first(model, scored[query])[:20])
        rest: list[Candidate] = [item.candidate for item in scored[query] if item.candidate.id in kept]
        return best_first(model, score(small, bm25.queries[query], rest))

    started = time.process_time()
    cascaded = measured(cascade)
    added = (time.process_time() - started) * 1000 / len(asked)
    rules = "; ".join(
        f"{name} {measured(lambda query, rule=rule: best_first(rule, among(query, bm25))):.3f}"  # type: ignore[misc]
        for name, rule in RULES.items()
    )
    per_query = cost * pairs / len(asked)
    where = f"DL 2019, {len(asked)} queries, nDCG@10"
    return [
        _row(
            "two-stage search",
            "better order than the vector store's",
            f"{where}: dense {first(dense):.3f}, reranked {two_stage:.3f}; {cost:.1f} ms a pair",
        ),
        _row(
            "hybrid, reranked",
            "better than BM25 or dense alone",
            f"{where}: BM25 {first(bm25):.3f}, dense {first(dense):.3f}, RRF {hybrid:.3f}, reranked {reranked:.3f}",
            f"with weights {mixed:.3f}; {per_query:.0f} ms a query",
        ),
        _row("score fusion", "normalised scores beat raw ones", f"{where} over BM25: {rules}"),
        _row(
            "cascade nano, small",
            "nearly the large model's order at a fraction of its cost",
            f"{where}: {cascaded:.3f}, small reads 20; {per_query + added:.0f} ms a query",
        ),
    ]


def _row(system: str, promise: str, *measured: str) -> Row:
    return system, promise, ", ".join(measured)


def question_rows(assets: Path, questions: int) -> list[Row]:
    """Return the row measured on XQuAD, whether the answer is in the best window."""
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
            f"XQuAD, {count} questions: answer in BM25's first paragraph ({whole:.0f} characters) {first / count:.2f}",
            f"in the best window ({statistics.fmean(lengths):.0f} characters) {windows / count:.2f}",
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
    print("Model: nano unless named. Milliseconds are processor time of all threads.\n")
    print("| system | its source promises | measured here |\n|---|---|---|")
    for rows in (passage_rows(assets, given.queries), question_rows(assets, given.questions)):
        for row in rows:
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

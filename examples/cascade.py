"""A cascade: a fast cross-encoder prunes the candidates, a precise one decides among the rest."""

import statistics
from collections.abc import Sequence

from examples.common import passages, questions, timed
from secondpass import Ranking, Reranker, Selection
from secondpass.evaluation import Bm25Index


class Cascade:
    """Two rerankers in a row.

    :param fast: Scores every candidate.
    :param precise: Scores what the fast one keeps.
    :param keep: How many that is.
    """

    def __init__(self, fast: Reranker, precise: Reranker, keep: int) -> None:
        self._fast, self._precise, self._pruned = fast, precise, Selection(top_k=keep, duplicates="keep")

    def rerank(self, query: str, candidates: Sequence[object]) -> Ranking:
        """Return the precise reranker's ranking of what the fast one kept."""
        kept = self._fast.rerank(query, candidates, selection=self._pruned)  # type: ignore[arg-type]
        return self._precise.rerank(query, [item.candidate for item in kept])


def main(
    models: Sequence[str] = ("nano", "small"), topics: Sequence[str] = (), depth: int = 50, keep: int = 15
) -> None:
    """Print quality and cost of each model alone, and of both in a row."""
    texts = passages(topics)
    judged, index = questions(texts), Bm25Index(texts)
    fast, precise = (Reranker(model, selection=Selection(top_k=10)) for model in models)
    systems = {
        models[0]: fast,
        models[1]: precise,
        f"{models[0]}, then {models[1]}": Cascade(fast, precise, keep),
    }
    print(f"{len(judged)} questions, {depth} candidates of BM25; the cascade keeps {keep}")
    for name, system in systems.items():
        times: dict[str, float] = {}
        ranks = []
        with timed(times, "all"):
            for question in judged:
                ids = [kept.candidate.id for kept in system.rerank(question.text, index.search(question.text, depth))]
                ranks.append(next((1 / rank for rank, key in enumerate(ids, 1) if key in set(question.relevant)), 0.0))
        milliseconds = times["all"] / max(1, len(judged))
        print(f"  {name:18} MRR@10 {statistics.fmean(ranks):.3f}  {milliseconds:7.0f} ms of processor time a query")


if __name__ == "__main__":
    main()

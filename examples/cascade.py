"""A cascade: a fast cross-encoder prunes the candidates, a precise one decides among the rest."""

import statistics
from collections.abc import Sequence

from examples.common import passages, questions, timed
from secondpass import Cascade, Reranker, Scorer, Selection, load_scorer
from secondpass.evaluation import Bm25Index


def main(
    models: Sequence[str] = ("nano", "small"),
    topics: Sequence[str] = (),
    depth: int = 50,
    keeps: Sequence[int] = (15, 30),
) -> None:
    """Print quality and cost of each model alone, and of both in a row; ``load_scorer("fast")`` is the one of 30."""
    texts = passages(topics)
    judged, index = questions(texts), Bm25Index(texts)
    alone = {model: load_scorer(model) for model in models}
    cascades = {f"both, keep {keep}": Cascade(*alone.values(), keep=keep, first_stage_weight=0.25) for keep in keeps}
    systems: dict[str, Scorer] = {**alone, **cascades}
    print(f"{len(judged)} questions, {depth} candidates of BM25")
    for name, scorer in systems.items():
        reranker, times, ranks = Reranker(scorer, selection=Selection(top_n=10)), dict[str, float](), []
        reranker.warmup()
        with timed(times, "all"):
            for question in judged:
                ids = [kept.candidate.id for kept in reranker.rerank(question.text, index.search(question.text, depth))]
                ranks.append(next((1 / rank for rank, key in enumerate(ids, 1) if key in set(question.relevant)), 0.0))
        milliseconds = times["all"] / max(1, len(judged))
        print(f"  {name:14} MRR@10 {statistics.fmean(ranks):.3f}  {milliseconds:7.0f} ms of processor time a query")


if __name__ == "__main__":
    main()

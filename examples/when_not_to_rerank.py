"""When not to rerank: autocomplete, 50 ms limits, a whole corpus, fast-changing texts; measured on this machine."""

import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence

from examples.common import JUDGED, ChromaIndex, load_bi_encoder, passages, timed
from secondpass import Reranker, Selection
from secondpass.evaluation import Bm25Index

LIMIT_MS = 50


def median_ms(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the median milliseconds of processor time that a call takes."""
    milliseconds = []
    for _ in range(repeats):
        times: dict[str, float] = {}
        with timed(times, "work"):
            work()
        milliseconds.append(times["work"])
    return statistics.median(milliseconds)


def complete(prefix: str, sorted_queries: Sequence[str]) -> list[str]:
    """Return past queries that begin with a prefix: a binary search, nothing else."""
    start = bisect_left(sorted_queries, prefix)
    return [query for query in sorted_queries[start : start + 5] if query.startswith(prefix)]


def main(models: Sequence[str] = ("nano", "small"), topics: Sequence[str] = (), count: int = 40) -> None:
    """Print the cost of a pair, and what follows from it."""
    texts = passages(topics)
    bm25, question = Bm25Index(texts), next(iter(JUDGED))
    candidates = bm25.search(question, count)
    costs: dict[str, float] = {}
    rerankers = {model: Reranker(model, selection=Selection(top_n=5)) for model in models}
    for model, reranker in rerankers.items():
        reranker.rerank(question, candidates[:2])
        costs[model] = median_ms(lambda r=reranker: r.rerank(question, candidates)) / len(candidates)  # type: ignore[misc]

    print("milliseconds of processor time; wall-clock time is less on idle processors, by up to their number")
    for model, cost in costs.items():
        fit, million = int(LIMIT_MS / cost), cost * 1_000_000 / 3_600_000
        print(
            f"{model}: {cost:.2f} a pair; {fit} pairs in {LIMIT_MS} ms; a million texts in {million:.1f} hours a query"
        )
    print(f"BM25 over all {len(texts)}: {median_ms(lambda: bm25.search(question, 10)):.2f} ms")

    past = sorted(JUDGED)
    typed = "how do I "
    found = complete(typed, past)
    print(f"\nautocomplete {typed!r}: prefix search {median_ms(lambda: complete(typed, past)):.3f} ms", end="")
    for model, reranker in rerankers.items():
        milliseconds = median_ms(lambda r=reranker: r.rerank(typed, found))  # type: ignore[misc]
        scores = [kept.probability or 0.0 for kept in reranker.rerank(typed, found)]
        print(f"; {model} {milliseconds:.0f} ms, probabilities {min(scores):.2f} to {max(scores):.2f}", end="")

    new = next(iter(texts.values()))
    embedding = median_ms(lambda: load_bi_encoder().embed_passages([new]))
    index = ChromaIndex(dict(list(texts.items())[:50]))
    vector = load_bi_encoder().embed_passages([new])
    upsert = median_ms(lambda: index.collection.upsert(["new"], vector, documents=[new]))
    print(f"\n\na changed text: {embedding:.0f} ms to embed, {upsert:.0f} ms to store; the reranker has no index")


if __name__ == "__main__":
    main()

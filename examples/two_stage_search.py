"""Two-stage search: a bi-encoder retrieves from a vector store, a cross-encoder reranks; Chroma and FAISS."""

from collections.abc import Mapping, Sequence

import faiss

from examples.common import ChromaIndex, embed_cached, load_bi_encoder, passages, row, timed
from secondpass import Candidate, Ranking, Reranker, Selection

QUESTION = "which methods does an object need to work in a with statement?"
DEPTHS = (10, 100, 1000)
WIDTHS = (4, 4, 6, 8, 7, 6, 18, 40)


class FaissIndex:
    """The same search without a store: an exact FAISS index in memory, over vectors of length one.

    :param texts: The texts by id.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        vectors = embed_cached(list(texts.values()))
        self._texts = list(texts.items())
        self._index = faiss.IndexFlatIP(vectors.shape[1])  # of vectors of length one the inner product is the cosine
        self._index.add(vectors)

    def search(self, query: str, limit: int = 100) -> list[Candidate]:
        """Return the nearest texts, best first, with the cosine as score."""
        vector = load_bi_encoder().embed_query(query)[None, :]
        cosines, positions = self._index.search(vector, min(limit, len(self._texts)))
        return [
            Candidate(self._texts[place][1], id=self._texts[place][0], score=cosine, source="faiss")
            for place, cosine in zip(positions[0], cosines[0], strict=True)
        ]


def search(
    index: ChromaIndex | FaissIndex, reranker: Reranker, query: str, depth: int
) -> tuple[Ranking, dict[str, float]]:
    """Return the ranking of a query's candidates, and the processor time of each stage in milliseconds."""
    times: dict[str, float] = {}
    with timed(times, "retrieve"):
        candidates = index.search(query, depth)
    with timed(times, "rerank"):
        ranking = reranker.rerank(query, candidates)
    return ranking, times


def main(models: Sequence[str] = ("small", "nano"), topics: Sequence[str] = (), depths: Sequence[int] = DEPTHS) -> None:
    """Print one search with both scores, then the time of each stage at several depths."""
    texts = passages(topics)
    rerankers = {model: Reranker(model, selection=Selection(top_n=5)) for model in models}
    indexes = {"chroma": ChromaIndex(texts), "faiss": FaissIndex(texts)}

    ranking, _ = search(indexes["chroma"], rerankers[models[0]], QUESTION, 100)
    print(f"{len(texts)} passages of Python's language reference\nQ: {QUESTION}")
    print(row("rank", "was", "index", "cosine", "logit", "prob", "id", "text", widths=WIDTHS))
    for kept in ranking:
        first = kept.candidate.score or 0.0
        cells = (kept.rank, kept.rank_before, kept.index, first, kept.score, kept.probability)
        print(row(*cells, kept.candidate.id, kept.text, widths=WIDTHS))
    print(f"dropped: {len(ranking.dropped)}, such as {ranking.dropped[0].candidate.id} ({ranking.dropped[0].reason})")

    print("\nmilliseconds of processor time: model, store, candidates, retrieve, rerank")
    for model, reranker in rerankers.items():
        for name, index in indexes.items():
            for depth in depths:
                ranking, times = search(index, reranker, QUESTION, depth)
                count = len(ranking.kept) + len(ranking.dropped)
                print(f"{model:6}{name:7}{count:5}{times['retrieve']:9.0f}{times['rerank']:9.0f}")


if __name__ == "__main__":
    main()

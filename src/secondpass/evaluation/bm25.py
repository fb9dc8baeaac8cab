"""A first stage for collections that come without one: BM25 over the whole corpus."""

from collections.abc import Mapping

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation.extras import require

K1, B = 0.9, 0.4
"""The settings of Anserini's BM25 baselines, which the BEIR paper's figures come from."""


def bm25_run(
    queries: Mapping[str, str], corpus: Mapping[str, str], depth: int = 100
) -> dict[str, tuple[Candidate, ...]]:
    """Return the best ``depth`` texts for each query, best first, with their BM25 scores.

    Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009, with Lucene's inverse
    document frequency, English stop words and the English Snowball stemmer. Texts that share no word with the query
    (score 0) were not found, and are left out.

    :raises InputError: If there is nothing to index.
    :raises ConfigurationError: If the depth isn't from 1.
    :raises MissingExtra: If bm25s or PyStemmer isn't installed.
    """
    if depth < 1:
        raise ConfigurationError(f"the first stage's depth must be 1 or more, got {depth}")
    require("bm25s", "Stemmer")
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    how = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
    index = bm25s.BM25(k1=K1, b=B, backend="numpy")
    words = bm25s.tokenize(list(corpus.values()), **how)
    if not words.vocab:
        raise InputError(f"BM25 needs texts with words other than stop words, and {len(corpus)} texts have none")
    index.index(words, show_progress=False)
    asked = bm25s.tokenize(list(queries.values()), **how)
    positions, scores = index.retrieve(asked, k=min(depth, len(corpus)), show_progress=False)
    ids = list(corpus)
    return {
        query: tuple(
            Candidate(corpus[ids[position]], id=ids[position], score=score, source="bm25")
            for position, score in zip(found, values, strict=True)
            if score > 0
        )
        for query, found, values in zip(queries, positions, scores, strict=True)
    }

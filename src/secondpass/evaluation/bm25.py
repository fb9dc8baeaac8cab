"""BM25 as a first stage."""

from collections.abc import Mapping

import bm25s
import Stemmer

from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation.collection import Run
from secondpass.records import Candidate

_K1, _B = 0.9, 0.4  # Anserini's BM25 baselines, from which the BEIR paper's figures come


class Bm25Index:
    """BM25 over a corpus in memory.

    Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009, with Lucene's inverse
    document frequency, English stop words and the English Snowball stemmer.

    :param corpus: The texts by id.
    :raises InputError: If no text has a word to index.
    """

    def __init__(self, corpus: Mapping[str, str]) -> None:
        self._texts = list(corpus.items())
        self._options = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english"), "show_progress": False}
        words = bm25s.tokenize(list(corpus.values()), **self._options)
        if not words.vocab:
            raise InputError(f"BM25 needs texts with words other than stop words, and {len(corpus)} texts have none")
        self._index = bm25s.BM25(k1=_K1, b=_B, backend="numpy")
        self._index.index(words, show_progress=False)

    def search(self, query: str, limit: int = 100) -> list[Candidate]:
        """Return the best texts for a query, best first, with their BM25 scores; see ``run``."""
        return list(self.run({"": query}, limit)[""])

    def run(self, queries: Mapping[str, str], limit: int = 100) -> Run:
        """Return the best texts for each query, best first, with their BM25 scores.

        Texts that share no word with the query (score 0) are left out.

        :param queries: The queries by id.
        :param limit: The most texts for each.
        :raises ConfigurationError: If the limit isn't from 1.
        """
        if limit < 1:
            raise ConfigurationError(f"the first stage's depth must be 1 or more, got {limit}")
        words = bm25s.tokenize(list(queries.values()), **self._options)
        positions, scores = self._index.retrieve(words, k=min(limit, len(self._texts)), show_progress=False)
        run: dict[str, list[Candidate]] = {}
        for query, row, values in zip(queries, positions, scores, strict=True):
            retrieved = [(*self._texts[place], score) for place, score in zip(row, values, strict=True) if score > 0]
            run[query] = [Candidate(text, id=key, score=score, source="bm25") for key, text, score in retrieved]
        return run

"""Ranking quality with real relevance judgements: the second pass against the first."""

from pathlib import Path
from typing import Any

import ir_measures
from ir_measures import nDCG

from secondpass import Candidate, Reranker, Selection, load_scorer

QUERIES = 5


def test_reranking_improves_ndcg(assets: Path, reranker_folder: Path, dl19: list[dict[str, Any]]) -> None:
    """On the first queries of TREC DL 2019 nDCG@10 is at least 0.1 above that of BM25's order."""
    path = assets / "data" / "trec-dl" / "qrels.dl19-passage.txt"
    qrels = list(ir_measures.read_trec_qrels(str(path)))  # type: ignore[no-untyped-call]
    reranker = Reranker(load_scorer(str(reranker_folder)), selection=Selection(duplicates="keep"))
    first, second = [], []
    for topic in dl19[:QUERIES]:
        qid = str(topic["hits"][0]["qid"])
        candidates = [Candidate(hit["content"], id=str(hit["docid"])) for hit in topic["hits"]]
        ranking = reranker.rerank(topic["query"], candidates)
        first += [ir_measures.ScoredDoc(qid, str(c.id), -float(rank)) for rank, c in enumerate(candidates)]
        second += [ir_measures.ScoredDoc(qid, str(kept.candidate.id), -float(kept.rank)) for kept in ranking.kept]
    judged = [qrel for qrel in qrels if qrel.query_id in {scored.query_id for scored in first}]
    before, after = (ir_measures.calc_aggregate([nDCG @ 10], judged, run)[nDCG @ 10] for run in (first, second))
    assert after > before + 0.1

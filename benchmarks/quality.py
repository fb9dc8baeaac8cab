"""nDCG@10 on a TREC DL file, before and after the second pass, with each model given.

usage: python -m benchmarks.quality CANDIDATES.json QRELS.txt MODEL [MODEL ...]
"""

import json
import sys
from pathlib import Path

import ir_measures
from ir_measures import nDCG

from secondpass import Candidate, Reranker, Selection, load_scorer


def main(candidates_file: str, qrels_file: str, *models: str) -> None:
    """Print one line for the first stage, and one for each model."""
    topics = json.loads(Path(candidates_file).read_text(encoding="utf-8"))
    qrels = list(ir_measures.read_trec_qrels(qrels_file))
    first = [
        ir_measures.ScoredDoc(str(hit["qid"]), str(hit["docid"]), -float(hit["rank"]))
        for topic in topics
        for hit in topic["hits"]
    ]
    print(f"first stage: nDCG@10 {ir_measures.calc_aggregate([nDCG @ 10], qrels, first)[nDCG @ 10]:.4f}")
    for model in models:
        scorer = load_scorer(model)
        reranker = Reranker(scorer, selection=Selection(duplicates="keep"))
        run = []
        for topic in topics:
            hits = [Candidate(hit["content"], id=str(hit["docid"])) for hit in topic["hits"]]
            ranking = reranker.rerank(topic["query"], hits)
            qid = str(topic["hits"][0]["qid"])
            run += [ir_measures.ScoredDoc(qid, str(kept.candidate.id), -float(kept.rank)) for kept in ranking.kept]
        print(f"{scorer!r}: nDCG@10 {ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]:.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

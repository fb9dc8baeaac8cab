"""Reads runs as JSON: a list of ``{"query", "hits": [{"qid", "docid", "rank", "score", "content"}]}``."""

import json
from collections import defaultdict
from pathlib import Path

import ir_measures

from secondpass.evaluation import Collection
from secondpass.records import Candidate


def read_trec_json(run: Path, qrels: Path) -> Collection:
    """Read a run and its judgements; a topic without hits is skipped.

    The order is that of the ranks: the files round their scores, and would hold ties that the run never had.
    """
    queries, corpus, candidates = {}, {}, {}
    for topic in json.loads(run.read_text("utf-8")):
        hits = sorted(topic["hits"], key=lambda hit: int(hit["rank"]))
        for hit in hits[:1]:
            queries[str(hit["qid"])] = topic["query"]
            candidates[str(hit["qid"])] = [Candidate(h["content"], id=str(h["docid"]), score=h["score"]) for h in hits]
        corpus |= {str(hit["docid"]): hit["content"] for hit in hits}
    grades: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for judgement in ir_measures.read_trec_qrels(str(qrels)):
        grades[judgement.query_id][judgement.doc_id] = judgement.relevance
    return Collection(run.stem, queries, corpus, grades, candidates)

"""Evaluation: what the second pass gains on judged questions, and what it costs.

::

    from secondpass.evaluation import evaluate, read_beir

    evaluation = evaluate(load_scorer("cross-encoder/ms-marco-MiniLM-L6-v2"), read_beir("scifact"))
    print(evaluation.to_markdown())

Its libraries come with the extra ``eval``, and are imported when they are first needed.
"""

from secondpass.evaluation.beir import read_beir
from secondpass.evaluation.bm25 import bm25_run
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.estimates import Sampling
from secondpass.evaluation.evaluate import evaluate
from secondpass.evaluation.measures import DEFAULT_MEASURES, Measures
from secondpass.evaluation.results import Evaluation
from secondpass.evaluation.retrievers import Question, ask, retrieve_with
from secondpass.evaluation.settings import Settings
from secondpass.evaluation.squad import read_squad
from secondpass.evaluation.trec import read_trec, read_trec_json

__all__ = [
    "DEFAULT_MEASURES",
    "Collection",
    "Evaluation",
    "Measures",
    "Question",
    "Sampling",
    "Settings",
    "ask",
    "bm25_run",
    "evaluate",
    "read_beir",
    "read_squad",
    "read_trec",
    "read_trec_json",
    "retrieve_with",
]

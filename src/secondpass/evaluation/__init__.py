"""Evaluation: what the second pass gains on judged questions, and what it costs.

::

    from secondpass.evaluation import evaluate, read_beir

    evaluation = evaluate(load_scorer("cross-encoder/ms-marco-MiniLM-L6-v2"), read_beir("scifact"))
    print(evaluation.to_markdown())
"""

from secondpass.errors import require

require("secondpass.evaluation", "eval", "bm25s", "Stemmer", "ir_measures", "pytrec_eval", "scipy")

from secondpass.evaluation.bm25 import Bm25Index, bm25_run
from secondpass.evaluation.collection import Collection, Question, ask, retrieve_with
from secondpass.evaluation.evaluate import evaluate
from secondpass.evaluation.measures import DEFAULT_MEASURES, Measures
from secondpass.evaluation.readers import read_beir, read_squad, read_trec, read_trec_json
from secondpass.evaluation.results import Evaluation
from secondpass.evaluation.settings import Progress, Sampling, Settings
from secondpass.evaluation.shortcuts import KeepFit, fit_gate, fit_keep, fit_stop

__all__ = [
    "DEFAULT_MEASURES",
    "Bm25Index",
    "Collection",
    "Evaluation",
    "KeepFit",
    "Measures",
    "Progress",
    "Question",
    "Sampling",
    "Settings",
    "ask",
    "bm25_run",
    "evaluate",
    "fit_gate",
    "fit_keep",
    "fit_stop",
    "read_beir",
    "read_squad",
    "read_trec",
    "read_trec_json",
    "retrieve_with",
]

"""Evaluation: what the second pass gains on judged questions, and what it costs.

::

    from secondpass.evaluation import evaluate, read_beir

    evaluation = evaluate(load_scorer("cross-encoder/ms-marco-MiniLM-L6-v2"), read_beir("scifact"))
    print(evaluation.to_markdown())
"""

from secondpass.errors import require

require("secondpass.evaluation", "eval", "bm25s", "Stemmer", "ir_measures", "pytrec_eval", "scipy", "sklearn")

from secondpass.evaluation.answers import AnswerCase, answer_cases, drop_relevant, fit_answerability
from secondpass.evaluation.bm25 import Bm25Index
from secondpass.evaluation.calibrate import Labelled, fit_calibration, join_labelled, label_pairs
from secondpass.evaluation.collection import Collection, Question, collect_candidates, retrieve_with
from secondpass.evaluation.evaluate import evaluate
from secondpass.evaluation.fusing import fit_fusion
from secondpass.evaluation.measures import DEFAULT_MEASURES, Measures
from secondpass.evaluation.readers import read_beir, read_squad, read_trec
from secondpass.evaluation.reliability import Reliability, Threshold, choose_threshold, precision_recall_at, reliability
from secondpass.evaluation.results import Evaluation
from secondpass.evaluation.settings import Progress, Sampling, Settings
from secondpass.evaluation.verdict import Finding, Verdict

__all__ = [
    "DEFAULT_MEASURES",
    "AnswerCase",
    "Bm25Index",
    "Collection",
    "Evaluation",
    "Finding",
    "Labelled",
    "Measures",
    "Progress",
    "Question",
    "Reliability",
    "Sampling",
    "Settings",
    "Threshold",
    "Verdict",
    "answer_cases",
    "choose_threshold",
    "collect_candidates",
    "drop_relevant",
    "evaluate",
    "fit_answerability",
    "fit_calibration",
    "fit_fusion",
    "join_labelled",
    "label_pairs",
    "precision_recall_at",
    "read_beir",
    "read_squad",
    "read_trec",
    "reliability",
    "retrieve_with",
]

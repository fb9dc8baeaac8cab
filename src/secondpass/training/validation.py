"""Measures of rankings on the validation questions, and a student's agreement with its teacher."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import ir_measures
from ir_measures import RR, nDCG
from sentence_transformers.base.evaluation import BaseEvaluator

from secondpass.optimize.checkpoint import logits
from secondpass.optimize.verification import agreement
from secondpass.training.data import Examples

AGREEMENT, NDCG = "agreement", "nDCG@10"
_MEASURES = (nDCG @ 10, RR @ 10)


class RankingEvaluator(BaseEvaluator):
    """Measures the ranking of each question's texts; sentence-transformers' own evaluator of rankings knows no grades.

    ``nDCG@10`` and ``RR@10`` are over the questions that have a relevant text. With a teacher's scores, ``agreement``
    is the share of text pairs of the same question that both order the same way, which needs no labels and chooses the
    best checkpoint, and ``error`` is the mean absolute difference of raw scores.

    :param examples: The validation questions.
    :param batch_size: Pairs in a forward pass.
    :param targets: The teacher's raw scores of all pairs.
    """

    def __init__(self, examples: Examples, batch_size: int, targets: Sequence[float] | None = None) -> None:
        super().__init__()
        self.primary_metric = NDCG if targets is None else AGREEMENT
        self._examples, self._batch_size, self._targets = examples, batch_size, targets

    def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Return the measures of a model as it is now."""
        return self.measure([value for (value,) in logits(model, self._examples.pairs, self._batch_size)])

    def measure(self, scores: Sequence[float]) -> dict[str, float]:
        """Return the measures of raw scores of all pairs."""
        measures = {}
        if self._targets is not None:
            numbers = [str(number) for number, group in enumerate(self._examples.groups) for _ in group.texts]
            agreed = agreement(numbers, scores, self._targets)
            measures[AGREEMENT] = 0.0 if math.isnan(agreed) else agreed
            measures["error"] = fmean(abs(one - other) for one, other in zip(scores, self._targets, strict=True))
        remaining = iter(scores)
        qrels, run = {}, {}
        for number, group in enumerate(self._examples.groups):
            own = {str(position): next(remaining) for position in range(len(group.texts))}
            if group.labels and any(group.labels):
                qrels[str(number)] = dict(zip(own, map(int, group.labels), strict=True))
                run[str(number)] = own
        judged = ir_measures.calc_aggregate(_MEASURES, qrels, run) if qrels else {}
        return measures | {str(name): float(value) for name, value in judged.items()}

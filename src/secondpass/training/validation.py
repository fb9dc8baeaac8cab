"""Measures of a student on the validation groups: agreement with the teacher, and judgements where there are some."""

import math
from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import Any

import ir_measures
import torch
from ir_measures import RR, nDCG
from sentence_transformers.base.evaluation import BaseEvaluator

from secondpass.optimize.checkpoint import logits
from secondpass.optimize.verification import agreement
from secondpass.training.data import Group

AGREEMENT = "agreement"
_MEASURES = (nDCG @ 10, RR @ 10)


class StudentEvaluator(BaseEvaluator):
    """Measures a student on the validation groups.

    ``agreement`` is the share of text pairs of the same question that student and teacher order the same way: it needs
    no labels, and chooses the best checkpoint. ``error`` is the mean absolute difference of raw scores. ``nDCG@10`` and
    ``RR@10`` are over the groups that have labels.

    :param groups: The validation groups.
    :param targets: The teacher's raw scores, a list for each group.
    :param batch_size: Pairs in a forward pass.
    :param dtype: The dtype of the forward passes.
    """

    def __init__(
        self, groups: Sequence[Group], targets: Sequence[Sequence[float]], batch_size: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.primary_metric = AGREEMENT
        self.groups = groups
        self._targets = list(chain.from_iterable(targets))
        self._batch_size = batch_size
        self._dtype = dtype

    def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Return the measures of a model as it is now."""
        pairs = [pair for group in self.groups for pair in group.pairs]
        with torch.autocast(model.device.type, dtype=self._dtype, enabled=self._dtype is not torch.float32):
            rows = logits(model, pairs, self._batch_size)
        return measure(self.groups, [value for (value,) in rows], self._targets)

    def teacher(self) -> dict[str, float]:
        """Return the teacher's own measures."""
        return measure(self.groups, self._targets, self._targets)


def measure(groups: Sequence[Group], scores: Sequence[float], targets: Sequence[float]) -> dict[str, float]:
    """Return agreement and error against the teacher, and the measures by labels where there are some.

    :param groups: The groups.
    :param scores: Raw scores of all pairs, one group after another.
    :param targets: The teacher's.
    """
    numbers = [str(number) for number, group in enumerate(groups) for _ in group.texts]
    agreed = agreement(numbers, scores, targets)
    values = {AGREEMENT: 0.0 if math.isnan(agreed) else agreed}
    values["error"] = fmean(abs(score - target) for score, target in zip(scores, targets, strict=True))
    remaining = iter(scores)
    qrels, run = {}, {}
    for number, group in enumerate(groups):
        own = {str(position): next(remaining) for position in range(len(group.texts))}
        if group.labels and any(group.labels):
            qrels[str(number)] = dict(zip(own, group.labels, strict=True))
            run[str(number)] = own
    judged = ir_measures.calc_aggregate(_MEASURES, qrels, run) if qrels else {}
    return values | {str(name): float(value) for name, value in judged.items()}

"""Measures on the validation groups: a student's agreement with its teacher, and those that fit a task."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import Any

import ir_measures
import torch
from ir_measures import RR, nDCG
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
)
from sklearn.metrics import f1_score

from secondpass.optimize.checkpoint import logits
from secondpass.optimize.verification import agreement
from secondpass.training.data import Group
from secondpass.training.tasks import Task

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
    return values | ranking_measures(groups, scores)


def ranking_measures(groups: Sequence[Group], scores: Sequence[float]) -> dict[str, float]:
    """Return nDCG@10 and RR@10 over the groups that have a relevant text; nothing where none has.

    :param groups: The groups.
    :param scores: The scores of all pairs, one group after another.
    """
    remaining = iter(scores)
    qrels, run = {}, {}
    for number, group in enumerate(groups):
        own = {str(position): next(remaining) for position in range(len(group.texts))}
        if group.labels and any(group.labels):
            qrels[str(number)] = dict(zip(own, map(int, group.labels), strict=True))
            run[str(number)] = own
    judged = ir_measures.calc_aggregate(_MEASURES, qrels, run) if qrels else {}
    return {str(name): float(value) for name, value in judged.items()}


def task_evaluator(task: Task, groups: Sequence[Group], batch_size: int) -> BaseEvaluator:
    """Return what measures a model on a task.

    Binary labels: average precision and F1; similarities: correlations; classes: the accuracy of each; lists and
    triplets: nDCG@10 and RR@10 (sentence-transformers' own evaluator of rankings knows no grades).

    :param task: The task.
    :param groups: The validation groups.
    :param batch_size: Pairs in a forward pass.
    """
    pairs = [list(pair) for group in groups for pair in group.pairs]
    labels = [label for group in groups for label in group.labels or ()]
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": False, "write_csv": False}
    if task.kind == "binary":
        return CrossEncoderClassificationEvaluator(pairs, list(map(int, labels)), **options)
    if task.kind == "similarity":
        return CrossEncoderCorrelationEvaluator(pairs, labels, **options)
    return _OutputEvaluator(task, groups, batch_size)


class _OutputEvaluator(BaseEvaluator):
    """Measures rankings and classes from a model's raw outputs."""

    def __init__(self, task: Task, groups: Sequence[Group], batch_size: int) -> None:
        super().__init__()
        self.primary_metric = task.metric
        self._task, self._batch_size = task, batch_size
        graded = task.kind == "ranking"
        self._groups = (
            groups if graded else [replace(group, labels=(1, 0)) for group in groups if task.kind == "margins"]
        )
        self._pairs = [pair for group in groups for pair in group.pairs]
        self._labels = [int(label) for group in groups for label in group.labels or ()]

    def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Return the measures of a model as it is now."""
        rows = logits(model, self._pairs, self._batch_size)
        if self._task.kind != "classes":
            return ranking_measures(self._groups, [value for (value,) in rows])
        chosen = [row.index(max(row)) for row in rows]
        right = [label == answer for label, answer in zip(self._labels, chosen, strict=True)]
        by_class = {
            f"accuracy {name}": fmean(own)
            for number, name in enumerate(self._task.classes)
            if (own := [hit for hit, label in zip(right, self._labels, strict=True) if label == number])
        }
        f1 = f1_score(self._labels, chosen, average="macro")
        return {"f1_macro": float(f1), "accuracy": fmean(right), **by_class}

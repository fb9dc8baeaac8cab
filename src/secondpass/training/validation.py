"""How good the student is while it learns: the teacher's orders, and people's judgements where there are some."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean
from typing import Any

import ir_measures
import torch
from ir_measures import RR, nDCG
from scipy.stats import kendalltau
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.base.evaluation import BaseEvaluator

from secondpass.scoring.batching import BatchLimits, plan_batches
from secondpass.training.groups import Group

AGREEMENT = "agreement"
_MEASURES = (nDCG @ 10, RR @ 10)


@dataclass(frozen=True, slots=True)
class Validation:
    """The groups that judge, and the teacher's raw scores for them, a list for each group."""

    groups: Sequence[Group]
    targets: Sequence[Sequence[float]]


class StudentEvaluator(BaseEvaluator):
    """Measures a student on validation groups.

    ``agreement`` is Kendall's tau-b between the student's and the teacher's scores of one question, averaged over
    the questions: it needs no labels, and is what the best checkpoint is chosen by. ``nDCG@10`` and ``RR@10`` are
    over the groups that have labels; ``error`` is the mean absolute difference of raw scores.

    :param validation: What judges.
    :param batch_tokens: The ceiling of a batch in padded tokens.
    :param dtype: What the arithmetic runs in.
    """

    def __init__(self, validation: Validation, batch_tokens: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.primary_metric = AGREEMENT
        self._validation = validation
        self._batch_tokens = batch_tokens
        self._dtype = dtype

    def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Return the measures of the model as it is now."""
        groups, targets = self._validation.groups, self._validation.targets
        pairs = list(chain.from_iterable(group.pairs for group in groups))
        flat = iter(score_pairs(model, pairs, self._batch_tokens, self._dtype))
        scores = [[next(flat) for _ in group.texts] for group in groups]
        return measure(groups, scores, targets)


def measure(
    groups: Sequence[Group], scores: Sequence[Sequence[float]], targets: Sequence[Sequence[float]]
) -> dict[str, float]:
    """Return agreement and error against the teacher, and the measures by labels where there are some."""
    judged = list(zip(scores, targets, strict=True))
    differences = [abs(a - b) for own, wanted in judged for a, b in zip(own, wanted, strict=True)]
    agreements = [_agreement(own, wanted) for own, wanted in judged if len(wanted) > 1]
    values = {AGREEMENT: fmean(agreements or [0.0]), "error": fmean(differences)}
    return values | _by_labels(groups, scores)


def _agreement(own: Sequence[float], wanted: Sequence[float]) -> float:
    """Return Kendall's tau-b, or 0 where one side told nothing apart and it isn't defined."""
    value = float(kendalltau(own, wanted).statistic)
    return 0.0 if math.isnan(value) else value


def _by_labels(groups: Sequence[Group], scores: Sequence[Sequence[float]]) -> dict[str, float]:
    qrels, run = {}, {}
    for number, (group, own) in enumerate(zip(groups, scores, strict=True)):
        if group.labels and any(group.labels):
            names = [str(position) for position in range(len(own))]
            qrels[str(number)] = dict(zip(names, group.labels, strict=True))
            run[str(number)] = dict(zip(names, own, strict=True))
    if not qrels:
        return {}
    return {str(name): float(value) for name, value in ir_measures.calc_aggregate(_MEASURES, qrels, run).items()}


def score_pairs(model: Model, pairs: Sequence[tuple[str, str]], batch_tokens: int, dtype: torch.dtype) -> list[float]:
    """Return the model's raw scores, in the order of the pairs; the model is left in the mode that it was in."""
    lengths = [len(query) + len(text) for query, text in pairs]  # characters do for grouping like with like
    longest = max(lengths, default=1)
    limits = BatchLimits(max_tokens=max(longest, batch_tokens * 4))
    scores = [0.0] * len(pairs)
    training = model.training
    model.eval()
    device = model.device
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
        for batch in plan_batches(lengths, limits):
            features = model.preprocess([tuple(pairs[i]) for i in batch])
            features = {name: value.to(device) if torch.is_tensor(value) else value for name, value in features.items()}
            for position, value in zip(batch, model(features)["scores"].float().view(-1).tolist(), strict=True):
                scores[position] = value
    model.train(training)
    return scores

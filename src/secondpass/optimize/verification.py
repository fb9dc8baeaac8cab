"""Verification of an exported form against the float model, through the engine that will run it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from secondpass.errors import ModelError
from secondpass.records import Pair, Score
from secondpass.scorers.load import load_scorer
from secondpass.scoring.options import LoadOptions
from secondpass.scoring.scorer import BaseScorer

Form = Literal["int8", "float32"]
TIE = 1e-4
"""Float scores that differ by less than this share of their standard deviation are a tie: rounding may swap them."""
_SAMPLE = 64  # pairs that are scored one by one


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a form may lose against the float model; beyond any of these it is refused.

    :param mean_difference: The mean difference of a score, as a share of the float scores' standard deviation.
    :param agreement: The least share of text pairs of the same question in the float model's order; text pairs whose
        float scores differ by less than 1e-4 standard deviations don't count.
    :param batch_effect: How far a score may move with its batch, in logits.
    """

    mean_difference: float
    agreement: float
    batch_effect: float


@dataclass(frozen=True, slots=True)
class FormReport:
    """One form, measured against the float model on the held-out pairs.

    :param form: ``"int8"`` or ``"float32"``.
    :param folder: Its folder; ``load_scorer`` opens it.
    :param bytes: The size of the folder.
    :param mean_difference: The mean absolute difference of a score, in logits.
    :param largest_difference: The largest one.
    :param spread: The standard deviation of the float model's scores, in logits.
    :param agreement: The share of text pairs of the same question in the float model's order; see ``Bounds``.
    :param batch_effect: The largest difference of a score between its pair alone and among others, in logits.
    """

    form: Form
    folder: Path
    bytes: int
    mean_difference: float
    largest_difference: float
    spread: float
    agreement: float
    batch_effect: float

    def excess(self, bounds: Bounds) -> str:
        """Describe which bounds the form breaks, empty where it keeps all."""
        share = self.mean_difference / self.spread if self.spread else math.inf
        broken = []
        if not share <= bounds.mean_difference:
            broken.append(f"mean difference {share:.2%} of the spread, at most {bounds.mean_difference:.2%} is allowed")
        if self.agreement < bounds.agreement:  # where no question has two texts it is NaN, and proves nothing
            broken.append(f"agreement {self.agreement:.4f}, at least {bounds.agreement} is needed")
        if not self.batch_effect <= bounds.batch_effect:
            broken.append(f"batch effect {self.batch_effect:.1e}, at most {bounds.batch_effect:.0e} is allowed")
        return "; ".join(broken)

    def __str__(self) -> str:
        """Return the figures in one line."""
        return (
            f"{self.form}: {self.bytes / 1e6:.1f} MB, difference {self.mean_difference:.4f} on average and "
            f"{self.largest_difference:.3f} at most (spread {self.spread:.2f}), agreement {self.agreement:.4f}, "
            f"batch effect {self.batch_effect:.1e}"
        )


def verify(form: Form, folder: Path, pairs: Sequence[Pair], wanted: Sequence[float], label: int | None) -> FormReport:
    """Compare a form's scores with the float model's.

    All pairs are scored in batches; a sample of them, spread over the lengths, is scored one by one as well.

    :param form: The form's name.
    :param folder: Its folder.
    :param pairs: The held-out pairs.
    :param wanted: The float model's score for each.
    :param label: The output column that means "relevant", where the configuration leaves it open.
    :raises ModelError: If the form can't be opened, or gives a pair no score.
    """
    scorer = load_scorer(str(folder), engine="onnx", device="cpu", options=LoadOptions(label=label))
    scores = _values(scorer, pairs)
    differences = [abs(score - reference) for score, reference in zip(scores, wanted, strict=True)]
    shifts = [abs(_values(scorer, [pairs[i]])[0] - scores[i]) for i in spread_over_lengths(pairs)]
    return FormReport(
        form,
        folder,
        sum(file.stat().st_size for file in folder.iterdir()),
        mean_difference=statistics.fmean(differences),
        largest_difference=max(differences),
        spread=statistics.pstdev(wanted),
        agreement=agreement([pair.query for pair in pairs], scores, wanted),
        batch_effect=max(shifts),
    )


def spread_over_lengths(pairs: Sequence[Pair]) -> list[int]:
    """Return the positions of at most 64 pairs, from the shortest to the longest in even steps."""
    by_length = sorted(range(len(pairs)), key=lambda position: len("".join(pairs[position])))
    last, count = len(by_length) - 1, min(_SAMPLE, len(by_length))
    return [by_length[step * last // max(1, count - 1)] for step in range(count)]


def agreement(queries: Sequence[str], scores: Sequence[float], wanted: Sequence[float]) -> float:
    """Return the share of text pairs of the same question that are in the wanted order.

    It is (1 + Kendall's tau) / 2 over all questions together, without the text pairs whose wanted scores differ by
    less than ``TIE`` of their standard deviation; NaN where there are no others.

    :param queries: The question of each score.
    :param scores: The scores to judge.
    :param wanted: The scores that decide the order.
    """
    questions: dict[str, list[int]] = {}
    for position, query in enumerate(queries):
        questions.setdefault(query, []).append(position)
    tie = TIE * statistics.pstdev(wanted)
    same = total = 0
    for positions in questions.values():
        own, reference = np.take(scores, positions), np.take(wanted, positions)
        before = np.subtract.outer(reference, reference) > tie
        same += int((np.subtract.outer(own, own)[before] > 0).sum())
        total += int(before.sum())
    return same / total if total else math.nan


def _values(scorer: BaseScorer, pairs: Sequence[Pair]) -> list[float]:
    values = [outcome.value for outcome in scorer.score_pairs(pairs).outcomes if isinstance(outcome, Score)]
    if len(values) != len(pairs):
        raise ModelError(f"{len(pairs) - len(values)} of {len(pairs)} held-out pairs got no score")
    return values

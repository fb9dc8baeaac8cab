"""Verification of an exported form against the float model, through the engine that will run it."""

import math
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from secondpass.errors import ModelError
from secondpass.optimize.folders import folder_size
from secondpass.optimize.records import Form, FormReport
from secondpass.scores import Pair, Score
from secondpass.scoring.protocol import BaseScorer
from secondpass.scoring.registry import LoadOptions, load_scorer

TIE = 1e-4
"""Float scores that differ by less than this share of their standard deviation are a tie: rounding may swap them."""
_SAMPLE = 64  # pairs that are scored one by one


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
    return FormReport(
        form,
        folder,
        folder_size(folder),
        mean_difference=statistics.fmean(differences),
        largest_difference=max(differences),
        spread=statistics.pstdev(wanted),
        agreement=agreement(pairs, scores, wanted),
        batch_effect=max(
            abs(_values(scorer, [pairs[position]])[0] - scores[position]) for position in spread_over_lengths(pairs)
        ),
    )


def spread_over_lengths(pairs: Sequence[Pair]) -> list[int]:
    """Return the positions of at most 64 pairs, from the shortest to the longest in even steps."""
    by_length = sorted(range(len(pairs)), key=lambda position: sum(map(len, pairs[position])))
    last, count = len(by_length) - 1, min(_SAMPLE, len(by_length))
    return [by_length[step * last // max(1, count - 1)] for step in range(count)]


def agreement(pairs: Sequence[Pair], scores: Sequence[float], wanted: Sequence[float]) -> float:
    """Return the share of text pairs of the same question that both models order the same way.

    It is (1 + Kendall's tau) / 2 over all questions together, without the text pairs whose float scores differ by less
    than ``TIE`` of their standard deviation; NaN where there are no others.
    """
    questions: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        questions.setdefault(pair.query, []).append(position)
    tie = TIE * statistics.pstdev(wanted)
    same = [
        (scores[one] - scores[other]) * (wanted[one] - wanted[other]) > 0
        for positions in questions.values()
        for one, other in combinations(positions, 2)
        if abs(wanted[one] - wanted[other]) > tie
    ]
    return sum(same) / len(same) if same else math.nan


def _values(scorer: BaseScorer, pairs: Sequence[Pair]) -> list[float]:
    values = [outcome.value for outcome in scorer.score_pairs(pairs).outcomes if isinstance(outcome, Score)]
    if len(values) != len(pairs):
        raise ModelError(f"{len(pairs) - len(values)} of {len(pairs)} held-out pairs got no score")
    return values

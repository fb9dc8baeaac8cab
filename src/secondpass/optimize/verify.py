"""A form against the float model, on pairs that it wasn't calibrated on, through the engine that will run it."""

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


def verify(form: Form, folder: Path, pairs: Sequence[Pair], wanted: Sequence[float], label: int | None) -> FormReport:
    """Measure what a form loses.

    :param form: The form's name.
    :param folder: Its folder.
    :param pairs: The held-out pairs.
    :param wanted: The float model's score for each.
    :param label: The output column that means "relevant", where the configuration leaves it open.
    :raises ModelError: If the form can't be opened, or gives a pair no score.
    """
    scorer = load_scorer(str(folder), engine="onnx", device="cpu", options=LoadOptions(label=label))
    together = _values(scorer, pairs)
    alone = [_values(scorer, [pair])[0] for pair in pairs]
    differences = [abs(one - other) for one, other in zip(alone, wanted, strict=True)]
    return FormReport(
        form,
        folder,
        folder_size(folder),
        mean_difference=statistics.fmean(differences),
        largest_difference=max(differences),
        spread=statistics.pstdev(wanted),
        agreement=agreement(pairs, alone, wanted),
        batch_effect=max(abs(one - other) for one, other in zip(alone, together, strict=True)),
    )


def agreement(pairs: Sequence[Pair], found: Sequence[float], wanted: Sequence[float]) -> float:
    """Return the share of equally ordered texts, over all two texts of a question that the float model tells apart.

    It is (1 + Kendall's tau) / 2 over all questions together; NaN where no question has two texts.
    """
    questions: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        questions.setdefault(pair.query, []).append(position)
    same = [
        (found[one] - found[other]) * (wanted[one] - wanted[other]) > 0
        for positions in questions.values()
        for one, other in combinations(positions, 2)
        if wanted[one] != wanted[other]
    ]
    return sum(same) / len(same) if same else math.nan


def _values(scorer: BaseScorer, pairs: Sequence[Pair]) -> list[float]:
    values = [outcome.value for outcome in scorer.score_pairs(pairs).outcomes if isinstance(outcome, Score)]
    if len(values) != len(pairs):
        raise ModelError(f"{len(pairs) - len(values)} of {len(pairs)} held-out pairs got no score")
    return values

"""Tasks of fine-tuning: the loss and the measure that fit the data's shape and labels, and the rows to learn from."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sentence_transformers import CrossEncoder as Model
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import losses
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
)
from torch import nn

from secondpass.errors import ConfigurationError, InputError
from secondpass.training.data import Examples, Group
from secondpass.training.settings import FinetuneSettings
from secondpass.training.validation import NDCG, RankingEvaluator

Kind = Literal["binary", "similarity", "ranking"]
METRICS: Mapping[Kind, str] = {"binary": "average_precision", "similarity": "spearman", "ranking": NDCG}
"""The measure that chooses the best checkpoint; higher is better."""
_WHOLE = {"mini_batch_size": -1}  # the batch size counts the texts of lists already
_OF_PAIRS: Mapping[str, Callable[[Model], nn.Module]] = {
    "bce": losses.BinaryCrossEntropyLoss,
    "mse": lambda model: losses.MSELoss(model, nn.Sigmoid()),
}
_OF_LISTS: Mapping[str, Callable[[Model], nn.Module]] = {
    "lambda": lambda model: losses.LambdaLoss(model, **_WHOLE),
    "listnet": lambda model: losses.ListNetLoss(model, **_WHOLE),
    "ranknet": lambda model: losses.RankNetLoss(model, **_WHOLE),
}
LOSSES: Mapping[str, Callable[[Model], nn.Module]] = {**_OF_PAIRS, **_OF_LISTS}
"""sentence-transformers' losses by name; those of lists can't learn similarities."""
_OF_SHAPE = {"lists": "lambda", "triplets": "ranknet"}
_HELP = "Where only positives are known, mine negatives: mine_negatives, or --mine on the command line"


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned.

    :param kind: The kind of labels.
    :param loss: The name of the loss.
    :param low: The lowest label, which becomes 0 where each pair is learned by itself.
    :param high: The highest, which becomes 1.
    """

    kind: Kind
    loss: str
    low: float
    high: float

    def columns(self, groups: Sequence[Group], settings: FinetuneSettings) -> dict[str, list[Any]]:
        """Return the rows that are learned from, in the columns that the loss expects."""
        if self.loss in _OF_PAIRS:
            span = self.high - self.low
            return {
                "query": [group.query for group in groups for _ in group.texts],
                "text": [text for group in groups for text in group.texts],
                "label": [(label - self.low) / span for group in groups for label in group.labels or ()],
            }
        draw = random.Random(settings.seed)
        rows = [(group, positions) for group in groups for positions in _lists(group, settings.list_size, draw)]
        return {
            "query": [group.query for group, _ in rows],
            "texts": [[group.texts[i] for i in positions] for group, positions in rows],
            "labels": [[(group.labels or ())[i] for i in positions] for group, positions in rows],
        }

    def evaluator(self, examples: Examples, batch_size: int) -> BaseEvaluator:
        """Return what measures a model: average precision and F1, correlations, or nDCG@10 and RR@10."""
        if self.kind == "ranking":
            return RankingEvaluator(examples, batch_size)
        make = CrossEncoderClassificationEvaluator if self.kind == "binary" else CrossEncoderCorrelationEvaluator
        labels = [int(label) if self.kind == "binary" else label for label in examples.labels]
        options = {"batch_size": batch_size, "show_progress_bar": False, "write_csv": False}
        return make([list(pair) for pair in examples.pairs], labels, **options)


def choose_task(train: Examples, validation: Examples, loss: str) -> Task:
    """Return what is learned: the loss follows from the data's shape and labels, unless it is chosen.

    :raises InputError: If the labels of a part are of one value only, or out of range.
    :raises ConfigurationError: If the loss can't learn such data.
    """
    labels = train.labels
    kind: Kind = "ranking" if train.shape != "pairs" else "binary" if set(labels) <= {0.0, 1.0} else "similarity"
    chosen = loss if loss != "auto" else _OF_SHAPE.get(train.shape, "bce" if kind == "binary" else "mse")
    if kind == "similarity" and chosen in _OF_LISTS:
        raise ConfigurationError(f"loss must be one that learns similarities ({', '.join(_OF_PAIRS)}), got {chosen}")
    for name, part in (("train", train), ("validation", validation)):
        _check_labels(kind, name, part)
    task = Task(kind, chosen, 0.0 if kind == "binary" else min(labels), max(labels))
    known = {0.0, 1.0} if kind == "binary" else validation.labels
    outside = [label for label in validation.labels if label not in known or not task.low <= label <= task.high]
    if kind != "ranking" and outside:
        raise InputError(
            f"labels must be from {task.low:g} to {task.high:g}, as the training data's are, and {len(outside)} of the "
            f"validation data's aren't, such as {outside[0]:g}"
        )
    return task


def _check_labels(kind: Kind, name: str, part: Examples) -> None:
    labels = part.labels
    if len(labels) < len(part.pairs):
        raise InputError(f"every text of the {name} data must have a label")
    if kind == "ranking":
        if not any(len(set(group.labels or ())) > 1 for group in part.groups):
            raise InputError(f"the {name} data must hold a question with texts of different labels. {_HELP}")
    elif len(set(labels)) < 2:
        raise InputError(
            f"the {name} data must hold labels of two values or more, and all {len(labels)} are {labels[0]:g}. {_HELP}"
        )


def _lists(group: Group, size: int, draw: random.Random) -> Iterator[tuple[int, ...]]:
    """Deal a group's texts out to lists by falling label, so that relevant ones are spread over them.

    A list of one label teaches no order: the last of its texts gives way to one of another label.
    """
    labels = group.labels or ()
    if len(set(labels)) < 2:
        return
    order = sorted(draw.sample(range(len(labels)), len(labels)), key=lambda position: -labels[position])
    count = -(-len(order) // size)
    for start in range(count):
        dealt = order[start::count]
        if len({labels[position] for position in dealt}) < 2:
            others = [position for position in order if labels[position] != labels[dealt[0]]]
            dealt = [draw.choice(others), *dealt[: size - 1]]
        yield tuple(dealt)

"""Tasks of fine-tuning: the loss that fits the data's shape, what it trains on, and the measure that fits."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sentence_transformers import CrossEncoder as Model
from sentence_transformers.cross_encoder import losses
from torch import nn

from secondpass.errors import ConfigurationError, InputError
from secondpass.training.data import Group, Row
from secondpass.training.settings import FinetuneSettings
from secondpass.training.tables import Examples

Kind = Literal["binary", "similarity", "classes", "ranking", "margins"]
METRICS: Mapping[Kind, str] = {
    "binary": "average_precision",
    "similarity": "spearman",
    "classes": "f1_macro",
    "ranking": "nDCG@10",
    "margins": "nDCG@10",
}
"""The measure that chooses the best checkpoint; higher is better."""


@dataclass(frozen=True, slots=True)
class _Loss:
    """A loss of sentence-transformers.

    :param form: What a row of it is: one pair, a list of texts of one question, or a positive and a negative.
    :param kinds: The tasks that it can learn.
    :param make: Makes it for a model.
    """

    form: Literal["pair", "list", "triplet"]
    kinds: tuple[Kind, ...]
    make: Callable[[Model], nn.Module]


_WHOLE = {"mini_batch_size": -1}  # the batches have a ceiling of tokens already
LOSSES: Mapping[str, _Loss] = {
    "bce": _Loss("pair", ("binary", "similarity", "ranking"), losses.BinaryCrossEntropyLoss),
    "mse": _Loss("pair", ("binary", "similarity", "ranking"), lambda model: losses.MSELoss(model, nn.Sigmoid())),
    "cross-entropy": _Loss("pair", ("classes",), losses.CrossEntropyLoss),
    "lambda": _Loss("list", ("ranking", "binary"), lambda model: losses.LambdaLoss(model, **_WHOLE)),
    "listnet": _Loss("list", ("ranking", "binary"), lambda model: losses.ListNetLoss(model, **_WHOLE)),
    "ranknet": _Loss("list", ("ranking", "binary"), lambda model: losses.RankNetLoss(model, **_WHOLE)),
    "margin-mse": _Loss("triplet", ("margins",), losses.MarginMSELoss),
    "multiple-negatives": _Loss("triplet", ("ranking", "binary"), losses.MultipleNegativesRankingLoss),
}
"""The losses by name, with what they can learn."""
_DEFAULTS = {"pairs": {"binary": "bce", "similarity": "mse", "classes": "cross-entropy"}}
_OF_SHAPE = {"lists": "lambda", "triplets": "ranknet", "margins": "margin-mse"}


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned.

    :param kind: The kind of labels.
    :param loss: The name of the loss.
    :param low: The lowest label, which becomes 0 where a similarity or a grade is learned by itself.
    :param high: The highest, which becomes 1.
    :param classes: The names of classes.
    """

    kind: Kind
    loss: str
    low: float = 0.0
    high: float = 1.0
    classes: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The measure that chooses the best checkpoint."""
        return METRICS[self.kind]

    def make_loss(self, model: Model) -> nn.Module:
        """Return the loss for a model."""
        return LOSSES[self.loss].make(model)

    def rows(self, groups: Sequence[Group], lengths: Sequence[Sequence[int]], settings: FinetuneSettings) -> list[Row]:
        """Return what stays together in a batch: pairs, lists of at most ``list_size``, or triplets."""
        draw = random.Random(settings.seed)
        if self.kind == "margins":  # a margin can be of either sign
            return [Row(number, (0, 1), max(own)) for number, own in enumerate(lengths)]
        form = LOSSES[self.loss].form
        return [
            Row(number, positions, max(lengths[number][i] for i in positions))
            for number, group in enumerate(groups)
            for positions in _POSITIONS[form](group, settings.list_size, draw)
        ]

    def columns(self, groups: Sequence[Group], rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return the rows' contents in the columns that the loss expects, labels last."""
        form = LOSSES[self.loss].form
        own = [(groups[row.group], row.positions) for row in rows]
        queries = {"query": [group.query for group, _ in own]}
        texts = [[group.texts[i] for i in positions] for group, positions in own]
        labels = [[self._target((group.labels or ())[i]) for i in positions] for group, positions in own]
        if form == "list":
            return {**queries, "texts": texts, "labels": labels}
        if form == "pair":
            return {**queries, "text": [text for (text,) in texts], "label": [label for (label,) in labels]}
        columns = {**queries, "positive": [pair[0] for pair in texts], "negative": [pair[1] for pair in texts]}
        return columns | ({"label": [label[0] - label[1] for label in labels]} if self.kind == "margins" else {})

    def _target(self, label: float) -> float | int:
        if self.kind == "classes":
            return int(label)
        return (label - self.low) / (self.high - self.low) if self.loss in {"bce", "mse"} else label


def choose_task(train: Examples, validation: Examples, loss: str, model: Model) -> Task:
    """Return what is learned: the loss follows from the data's shape and labels, unless it is chosen.

    Whole numbers of more than two values are classes for a model with several outputs, and else grades.

    :raises InputError: If the labels of a part are of one value only, or out of range.
    :raises ConfigurationError: If the loss can't learn such data.
    """
    labels, kind = train.labels, _kind(train, model)
    chosen = loss if loss != "auto" else _OF_SHAPE.get(train.shape) or _DEFAULTS["pairs"][kind]
    if kind not in LOSSES[chosen].kinds:
        fitting = ", ".join(name for name, each in LOSSES.items() if kind in each.kinds)
        raise ConfigurationError(f"loss must be one that learns {kind} data ({fitting}), got {chosen}")
    scaled = kind in {"similarity", "ranking"}
    task = Task(
        kind, chosen, min(labels) if scaled else 0.0, max(labels) if scaled else 1.0, _names(train, kind, model)
    )
    for name, part in (("train", train), ("validation", validation)):
        _check_labels(task, name, part)
    return task


def _kind(examples: Examples, model: Model) -> Kind:
    if examples.shape != "pairs":
        return "margins" if examples.shape == "margins" else "ranking"
    labels = set(examples.labels)
    if examples.classes or (model.num_labels > 1 and all(label == int(label) for label in labels)):
        return "classes"
    return "binary" if labels <= {0.0, 1.0} else "similarity"


def _names(examples: Examples, kind: Kind, model: Model) -> tuple[str, ...]:
    if kind != "classes":
        return ()
    return examples.classes or tuple(model.config.id2label[number] for number in range(model.num_labels))


def _check_labels(task: Task, name: str, part: Examples) -> None:
    labels = part.labels
    top = len(task.classes) - 1 if task.kind == "classes" else task.high
    low = 0 if task.kind == "classes" else task.low
    whole = task.kind in {"binary", "classes"}
    outside = [label for label in labels if not low <= label <= top or (whole and label % 1)]
    if outside and task.kind in {"binary", "similarity", "classes"}:
        raise InputError(
            f"labels must be {'whole numbers ' if whole else ''}from {low:g} to {top:g}, as the training data's are, "
            f"and {len(outside)} of the {name} data's aren't, such as {outside[0]:g}"
        )
    if task.kind == "ranking":
        if not any(len(set(group.labels or ())) > 1 for group in part.groups):
            raise InputError(f"the {name} data must hold a question with texts of different labels. {_HELP}")
    elif len(set(labels)) < 2 and task.kind != "margins":
        raise InputError(
            f"the {name} data must hold labels of two values or more, and all {len(labels)} are {labels[0]:g}. {_HELP}"
        )


_HELP = "Where only positives are known, mine negatives: mine_negatives, or --mine on the command line"


def _each(group: Group, *_: Any) -> Iterator[tuple[int, ...]]:
    yield from ((position,) for position in range(len(group.texts)))


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


def _triplets(group: Group, size: int, draw: random.Random) -> Iterator[tuple[int, ...]]:
    """Pair positives with negatives, each negative once and each positive with at most ``size - 1`` of them."""
    labels = group.labels or ()
    positives = [position for position, label in enumerate(labels) if label > 0]
    negatives = [position for position, label in enumerate(labels) if label <= 0]
    if not positives or not negatives:
        return
    draw.shuffle(negatives)
    count = max(len(positives), min(len(negatives), len(positives) * (size - 1)))
    yield from ((positives[number % len(positives)], negatives[number % len(negatives)]) for number in range(count))


_POSITIONS: Mapping[str, Callable[[Group, int, random.Random], Iterator[tuple[int, ...]]]] = {
    "pair": _each,
    "list": _lists,
    "triplet": _triplets,
}

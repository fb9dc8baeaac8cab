"""Settings of training: the student of a distillation, how a model is trained, and its model card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from secondpass.errors import ConfigurationError, checked
from secondpass.optimize import DEFAULT_SETTINGS, OptimizeSettings

Objective = Literal["mse", "margin-mse"]
Loss = Literal[
    "auto", "bce", "mse", "cross-entropy", "lambda", "listnet", "ranknet", "margin-mse", "multiple-negatives"
]
Precision = Literal["auto", "float32", "bfloat16"]


@checked
@dataclass(frozen=True, slots=True)
class Student:
    """What the student starts from.

    :param base: The model whose weights it takes: a folder or a hub id; None takes the teacher's.
    :param layers: The base's layers that it keeps, in order, counted from 0; None keeps all.
    :param match: For each of its layers the teacher's layer whose output it learns; None spreads them evenly over the
        teacher, the last on the last. Only used where hidden states are matched.
    :param freeze_word_embeddings: Leave the word embeddings as they are: they are most of a small model's weights, and
        little data makes them worse.
    :param revision: A branch, tag or commit, where the base is a hub id.
    """

    base: str | None = None
    layers: tuple[int, ...] | None = None
    match: tuple[int, ...] | None = None
    freeze_word_embeddings: bool = True
    revision: str | None = None

    def __post_init__(self) -> None:
        """Check the lists of layers."""
        for name, layers in (("layers", self.layers), ("match", self.match)):
            if layers is not None and (not layers or any(layer < 0 for layer in layers)):
                raise ConfigurationError(f"{name} must be the numbers of layers, counted from 0, got {layers!r}")
        if self.layers is not None and list(self.layers) != sorted(set(self.layers)):
            raise ConfigurationError(f"layers must rise, each named once, got {self.layers!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a model is trained, whatever it learns from.

    :param epochs: Passes over the data; fractions are allowed.
    :param learning_rate: The peak; it rises over ``warmup`` and falls linearly to 0.
    :param warmup: The share of the steps over which the learning rate rises.
    :param weight_decay: AdamW's weight decay.
    :param batch_tokens: The ceiling of a batch in padded tokens, on each device.
    :param evaluate_every: Steps between two evaluations, or below 1 their share of all steps; each leaves a checkpoint,
        so a kill costs no more than this.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param truncate: Whether longer pairs are cut off; they are an error where this is False.
    :param seed: The seed of the order and of everything else that is random.
    :param precision: The dtype of forward and backward passes; ``"auto"`` takes bfloat16 where the hardware multiplies
        it natively.
    :param export: What the int8 form may lose against the weights. A model whose int8 form loses more is kept without
        one, and the report says so.
    :param progress: Whether progress bars are shown.
    """

    epochs: float = 1.0
    learning_rate: float = 2e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    batch_tokens: int = 2048
    evaluate_every: float = 500
    max_length: int | None = None
    truncate: bool = False
    seed: int = 13
    precision: Precision = "auto"
    export: OptimizeSettings = DEFAULT_SETTINGS
    progress: bool = True

    def _check(self, rules: Mapping[str, bool]) -> None:
        """Check that the numbers can work.

        :param rules: What must hold besides, and whether it does.
        :raises ConfigurationError: If something doesn't.
        """
        common = {
            "epochs must be above 0": self.epochs > 0,
            "learning_rate must be above 0": self.learning_rate > 0,
            "warmup must be a share from 0 to 1": 0 <= self.warmup <= 1,
            "weight_decay must be 0 or more": self.weight_decay >= 0,
            "batch_tokens must be at least 1": self.batch_tokens >= 1,
            "evaluate_every must be a share below 1, or a number of steps": 0 < self.evaluate_every < 1
            or (self.evaluate_every >= 1 and self.evaluate_every % 1 == 0),
            "precision must be auto, float32 or bfloat16": self.precision in {"auto", "float32", "bfloat16"},
        }
        broken = [rule for rule, holds in {**rules, **common}.items() if not holds]
        if broken:
            raise ConfigurationError(f"{'; '.join(broken)}; got {self}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that decide the model's weights, as plain data."""
        settings = asdict(self)
        del settings["export"], settings["progress"]
        return settings


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class DistillSettings(TrainSettings):
    """How a student is trained; further settings as in ``TrainSettings``.

    :param objective: ``"mse"`` on the raw scores (Hofstätter et al. 2020 call it pointwise), or ``"margin-mse"`` on
        the differences of scores within one question (https://arxiv.org/abs/2010.02666).
    :param hidden_weight: The weight of the matched hidden states: the squared distance to the teacher's, relative to
        their own squared length (after TinyBERT, https://arxiv.org/abs/1909.10351). 0 leaves them out, and then the
        teacher may be any scorer.
    :param score_weight: The weight of the objective on the scores.
    :param group_size: How many texts of one question stay together in a batch.
    """

    objective: Objective = "mse"
    hidden_weight: float = 1.0
    score_weight: float = 0.05
    group_size: int = 4

    def __post_init__(self) -> None:
        """Check that the numbers can work."""
        weights = self.hidden_weight, self.score_weight
        group_size = 2 if self.objective == "margin-mse" else 1
        self._check(
            {
                "objective must be mse or margin-mse": self.objective in {"mse", "margin-mse"},
                "hidden_weight and score_weight must be 0 or more, and not both 0": min(weights) >= 0 < max(weights),
                f"group_size must be at least {group_size}": self.group_size >= group_size,
            }
        )


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings(TrainSettings):
    """How a model is fine-tuned; further settings as in ``TrainSettings``.

    :param loss: One of ``secondpass.training.LOSSES``; ``"auto"`` takes the one that fits the data.
    :param list_size: The most texts of one question that a list has, and that a positive is compared with.
    :param patience: Evaluations without a better measure after which training ends; None never ends it early.
    :param max_length: The longest pair in tokens while it is trained; the saved model reads as many as before.
    :param lora: The rank of low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685) that are trained
        instead of the layers' own weights, and merged into these at the end; None trains the weights. Needs the extra
        ``lora``.
    :param freeze_word_embeddings: As ``Student``'s.
    """

    epochs: float = 2.0
    learning_rate: float = 5e-5
    warmup: float = 0.1
    evaluate_every: float = 0.1
    truncate: bool = True
    loss: Loss = "auto"
    list_size: int = 8
    patience: int | None = 4
    lora: int | None = None
    freeze_word_embeddings: bool = True

    def __post_init__(self) -> None:
        """Check that the numbers can work."""
        self._check(
            {
                f"loss must be one of {', '.join(get_args(Loss))}": self.loss in get_args(Loss),
                "list_size must be at least 2": self.list_size >= 2,
                "patience must be at least 1, or None": self.patience is None or self.patience >= 1,
                "lora must be a rank of at least 1, or None": self.lora is None or self.lora >= 1,
            }
        )


@dataclass(frozen=True, slots=True)
class About:
    """Texts for the model card.

    :param name: The model's name; None takes the folder's.
    :param license: Its licence, as the hub writes it (``apache-2.0``).
    :param notes: Markdown for the card, such as the data's origin, intended uses and limits.
    """

    name: str | None = None
    license: str = "other"
    notes: str = ""

"""Settings of training: how a model is trained, what a student starts from, and texts for the model card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from secondpass.errors import ConfigurationError, checked
from secondpass.optimize import DEFAULT_SETTINGS, OptimizeSettings

Objective = Literal["mse", "margin-mse"]
Loss = Literal["auto", "bce", "mse", "lambda", "listnet", "ranknet"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a model is trained, whatever it learns from.

    :param epochs: Passes over the data; fractions are allowed.
    :param learning_rate: The peak; it rises over ``warmup`` and falls linearly to 0.
    :param warmup: The share of the steps over which the learning rate rises.
    :param batch_size: Texts in a batch; those of a list stay together.
    :param evaluate_every: Steps between two evaluations, or below 1 their share of all steps; each leaves a checkpoint,
        so a kill costs no more than this.
    :param max_length: The longest pair in tokens; longer ones are truncated. None takes the model's own.
    :param seed: The seed of the order and of everything else that is random.
    :param precision: The dtype of forward and backward passes; ``"auto"`` takes bfloat16 on GPUs that compute it.
    :param freeze_word_embeddings: Leave the word embeddings as they are: they are most of a small model's weights, and
        little data makes them worse.
    :param export: What the int8 form may lose against the weights. A model whose int8 form loses more is kept without
        one, and the report says so.
    :param progress: Whether progress bars are shown.
    """

    epochs: float = 1.0
    learning_rate: float = 2e-4
    warmup: float = 0.1
    batch_size: int = 8
    evaluate_every: float = 0.1
    max_length: int | None = None
    seed: int = 13
    precision: Precision = "auto"
    freeze_word_embeddings: bool = True
    export: OptimizeSettings = DEFAULT_SETTINGS
    progress: bool = True

    def _check(self, rules: Mapping[str, bool]) -> None:
        """Check that the numbers can work.

        :param rules: What must hold besides, and whether it does.
        :raises ConfigurationError: If something doesn't.
        """
        every = self.evaluate_every
        common = {
            "epochs must be above 0": self.epochs > 0,
            "learning_rate must be above 0": self.learning_rate > 0,
            "warmup must be a share from 0 to 1": 0 <= self.warmup <= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "evaluate_every must be a share below 1, or a number of steps": 0 < every < 1 or every in range(1, 2**31),
            "max_length must be at least 8": self.max_length is None or self.max_length >= 8,
            "precision must be auto, float32 or bfloat16": self.precision in get_args(Precision),
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

    :param base: The model whose weights the student takes: a folder or a hub id; None takes the teacher's.
    :param layers: The base's layers that it keeps, in order, counted from 0; None keeps all.
    :param objective: ``"mse"`` on the raw scores, or ``"margin-mse"`` on the differences of the scores of two texts of
        one question (Hofstätter et al. 2020, https://arxiv.org/abs/2010.02666).
    :param hidden_weight: The weight of the matched hidden states' error (after TinyBERT,
        https://arxiv.org/abs/1909.10351), where the scores' error weighs 1. 0 leaves them out, and then the teacher may
        be any scorer.
    """

    base: str | None = None
    layers: tuple[int, ...] | None = None
    objective: Objective = "mse"
    hidden_weight: float = 20.0

    def __post_init__(self) -> None:
        """Check that the numbers can work."""
        layers = self.layers if self.layers is not None else (0,)
        self._check(
            {
                "layers must be numbers from 0 that rise, each named once": bool(layers)
                and layers[0] >= 0
                and list(layers) == sorted(set(layers)),
                "objective must be mse or margin-mse": self.objective in get_args(Objective),
                "hidden_weight must be 0 or more": self.hidden_weight >= 0,
            }
        )


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings(TrainSettings):
    """How a model is fine-tuned; further settings as in ``TrainSettings``.

    :param loss: One of ``secondpass.training.LOSSES``; ``"auto"`` takes the one that fits the data.
    :param list_size: The most texts of one question that a list has.
    :param patience: Evaluations without a better measure after which training ends; None never ends it early.
    """

    epochs: float = 2.0
    learning_rate: float = 5e-5
    loss: Loss = "auto"
    list_size: int = 8
    patience: int | None = 4

    def __post_init__(self) -> None:
        """Check that the numbers can work."""
        self._check(
            {
                f"loss must be one of {', '.join(get_args(Loss))}": self.loss in get_args(Loss),
                "list_size must be at least 2": self.list_size >= 2,
                "patience must be at least 1, or None": self.patience is None or self.patience >= 1,
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

"""What the optimiser is told and what it tells: settings, figures, and the bounds on what may be lost."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secondpass.errors import ConfigurationError

Form = Literal["int8", "float32"]
FORMS: tuple[Form, ...] = ("float32", "int8")
"""In the order in which they are made: int8 comes from float32."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a form may lose against the float model; beyond any of these it is refused.

    :param mean_difference: The mean difference of a score, as a share of the float scores' standard deviation.
    :param agreement: The least share of equally ordered texts, over all two texts of a question.
    :param batch_effect: How far a score may move with its batch, in logits.
    """

    mean_difference: float
    agreement: float
    batch_effect: float


FLOAT_BOUNDS = Bounds(mean_difference=1e-4, agreement=0.9999, batch_effect=1e-4)
INT8_BOUNDS = Bounds(mean_difference=0.03, agreement=0.975, batch_effect=0.02)


@dataclass(frozen=True, slots=True)
class OptimizeSettings:
    """What few people need to say about a model.

    :param balance: How much of a large activation the weights take over, from 0 (nothing) to 1 (all of it).
    :param first_token_only: Whether the last layer may leave out what the model's head doesn't read.
    :param label: The output column that means "relevant", where the model's configuration leaves it open.
    :param float32: What the float32 form may lose.
    :param int8: What the int8 form may lose.
    :raises ConfigurationError: If ``balance`` isn't from 0 to 1.
    """

    balance: float = 0.75
    first_token_only: bool = True
    label: int | None = None
    float32: Bounds = FLOAT_BOUNDS
    int8: Bounds = INT8_BOUNDS

    def __post_init__(self) -> None:
        """Check the one number that has a range."""
        if not 0 <= self.balance <= 1:
            raise ConfigurationError(f"balance must be from 0 to 1, got {self.balance}")

    def bounds(self, form: Form) -> Bounds:
        """Return what a form may lose."""
        return self.int8 if form == "int8" else self.float32


DEFAULT_SETTINGS = OptimizeSettings()


@dataclass(frozen=True, slots=True)
class FormReport:
    """One form, measured against the float model on the held-out pairs.

    :param form: ``"int8"`` or ``"float32"``.
    :param folder: Where it is; ``load_scorer`` opens it.
    :param bytes: What the folder takes.
    :param mean_difference: The mean absolute difference of a score, in logits.
    :param largest_difference: The largest one.
    :param spread: The standard deviation of the float model's scores, in logits.
    :param agreement: The share of equally ordered texts, over all two texts of a question.
    :param batch_effect: How far a score moved between its pair alone and among others, in logits, at most.
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
        """Say which bounds the form breaks, empty where it keeps all."""
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


@dataclass(frozen=True, slots=True)
class OptimizeReport:
    """What became of a model.

    :param model: The checkpoint's name.
    :param forms: One report a form, float32 first.
    :param first_token_only: Whether the last layer computes the first token alone.
    :param calibrated_on: The pairs behind the int8 form's scales.
    :param verified_on: The pairs that all figures come from.
    """

    model: str
    forms: tuple[FormReport, ...]
    first_token_only: bool
    calibrated_on: int
    verified_on: int

    def __str__(self) -> str:
        """Return the figures, one line a form."""
        return "\n".join((f"{self.model}, verified on {self.verified_on} pairs", *map(str, self.forms)))

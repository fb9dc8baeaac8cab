"""The settings of an evaluation: depths, budgets, the token counter, and how intervals and tests are sampled."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from secondpass.errors import ConfigurationError, checked
from secondpass.selection.budget import ContextBudget
from secondpass.selection.tokens import as_counter

Progress = Callable[[str, int, int], None]
"""Called with a description of the work, how many steps of it are done, and how many there are."""


@checked
@dataclass(frozen=True, slots=True)
class Sampling:
    """How intervals and tests are sampled; the same settings on the same values give the same figures.

    :param confidence: The share of resamples within an interval.
    :param resamples: The number of resamples, from 100, and enough for a p-value below 1 - confidence.
    :param seed: The seed of the random numbers.
    :raises ConfigurationError: If a setting is out of its range.
    """

    confidence: float = 0.95
    resamples: int = 9999
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.confidence < 1:
            raise ConfigurationError(f"confidence must be between 0 and 1, got {self.confidence!r}")
        least = max(100, math.ceil(2 / (1 - self.confidence)))  # the smallest p-value is 2 / (resamples + 1)
        if self.resamples < least:
            raise ConfigurationError(
                f"resamples must be {least} or more at a confidence of {self.confidence!r}, got {self.resamples!r}"
            )


@checked
@dataclass(frozen=True, slots=True)
class Settings:
    """What an evaluation computes besides its measures.

    :param depths: Numbers of candidates for the depth curve, rising; those beyond the run's length are left out, and
        an empty tuple leaves out the curve.
    :param timed_queries: On how many queries the milliseconds of a depth are measured; 0 measures none.
    :param budgets: Context budgets in tokens, rising; an empty tuple leaves out that curve.
    :param counter: Counts the LLM's tokens, as ``ContextBudget`` takes it; None takes the stated estimate.
    :param separator: The text between two items in the prompt.
    :param relevant_from: The lowest grade of a relevant item, from 1, where a collection has no answers (2 on TREC DL).
    :param listed_queries: How many of the queries won, and of those lost, are listed.
    :param listed_candidates: How many moved candidates are listed for each of those.
    :param negligible: The change of the first measure that makes no difference in use; the verdict calls it so where
        the whole interval is within it, on 20 questions or more.
    :param sampling: How intervals and tests are sampled.
    :raises ConfigurationError: If a setting is out of its range.
    :raises BudgetError: If the counter isn't one.
    """

    depths: tuple[int, ...] = (10, 20, 50, 100, 200)
    timed_queries: int = 10
    budgets: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    counter: object = None
    separator: str = "\n\n"
    relevant_from: int = 1
    listed_queries: int = 5
    listed_candidates: int = 5
    negligible: float = 0.02
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        """Check the settings and resolve the counter."""
        for name, numbers in (("depths", self.depths), ("budgets", self.budgets)):
            if any(number < 1 for number in numbers) or any(low >= high for low, high in pairwise(numbers)):
                raise ConfigurationError(f"{name} must be whole numbers from 1, each once and rising, got {numbers!r}")
        for name, least in (
            ("relevant_from", 1),
            ("timed_queries", 0),
            ("listed_queries", 0),
            ("listed_candidates", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} must be {least} or more, got {getattr(self, name)!r}")
        if not 0 < self.negligible < 1:
            raise ConfigurationError(f"negligible must be between 0 and 1, got {self.negligible!r}")
        object.__setattr__(self, "counter", as_counter(self.counter))

    def budget(self, tokens: int) -> ContextBudget:
        """Return the context budget of a number of tokens."""
        return ContextBudget(tokens, counter=self.counter, separator=self.separator)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the names of the counter, the interval and the test."""
        counter = as_counter(self.counter)
        return asdict(replace(self, counter=None)) | {
            "counter": counter.name,
            "counter_exact": counter.exact,
            "test": "paired permutation test on the mean difference, two-sided",
            "interval": "percentile bootstrap over queries",
        }


DEFAULT_SETTINGS = Settings()

"""What an evaluation looks at, as one record."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from secondpass.errors import ConfigurationError
from secondpass.evaluation.estimates import Sampling
from secondpass.selection.budget import ContextBudget
from secondpass.selection.tokens import as_counter


@dataclass(frozen=True, slots=True)
class Settings:
    """What an evaluation looks at besides its measures.

    :param depths: Numbers of candidates for the depth curve, rising; those beyond what the run has are left out, and
        an empty tuple leaves out the curve.
    :param timed: On how many queries the milliseconds of a depth are measured; 0 measures none.
    :param budgets: Context budgets in tokens, rising; an empty tuple leaves out that curve.
    :param counter: Counts the reader's tokens, as ``ContextBudget`` takes it; None takes the stated estimate.
    :param separator: What stands between two items in the prompt.
    :param relevant_from: The lowest grade of a relevant item, from 1, where a collection has no answers (2 on TREC DL).
    :param shown: How many queries won, and how many lost, are told with their candidates.
    :param moved: How many moved candidates are told for each of those.
    :param sampling: How intervals and tests are drawn.
    :raises ConfigurationError: If a setting is out of its range.
    :raises BudgetError: If the counter isn't one.
    """

    depths: tuple[int, ...] = (10, 20, 50, 100, 200)
    timed: int = 10
    budgets: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    counter: object = None
    separator: str = "\n\n"
    relevant_from: int = 1
    shown: int = 5
    moved: int = 5
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, numbers in (("depths", self.depths), ("budgets", self.budgets)):
            if any(number < 1 for number in numbers) or any(low >= high for low, high in pairwise(numbers)):
                raise ConfigurationError(f"{name} must be whole numbers from 1, each once and rising, got {numbers!r}")
        if self.relevant_from < 1:
            raise ConfigurationError(f"relevant_from must be 1 or more: 0 is not relevant, got {self.relevant_from!r}")
        for name, number in (("timed", self.timed), ("shown", self.shown), ("moved", self.moved)):
            if number < 0:
                raise ConfigurationError(f"{name} must be 0 or more, got {number!r}")
        object.__setattr__(self, "counter", as_counter(self.counter))

    def budget(self, tokens: int) -> ContextBudget:
        """Return the context budget of so many tokens."""
        return ContextBudget(tokens, counter=self.counter, separator=self.separator)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        counter = as_counter(self.counter)
        return {
            "depths": list(self.depths),
            "timed": self.timed,
            "budgets": list(self.budgets),
            "counter": counter.name,
            "counter_exact": counter.exact,
            "separator": self.separator,
            "relevant_from": self.relevant_from,
            "confidence": self.sampling.confidence,
            "resamples": self.sampling.resamples,
            "seed": self.sampling.seed,
            "test": "paired permutation test on the mean difference, two-sided",
            "interval": "percentile bootstrap over queries",
        }


DEFAULT_SETTINGS = Settings()

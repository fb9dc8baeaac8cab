"""How often the verdict claims a change that isn't there, and how often it finds one that is: by simulation.

usage: python -m benchmarks.verdicts [--trials 1000]

Each question has one right candidate, and a difficulty; both stages draw its rank from the same distribution (the null
first stage), or the second pass takes the better of two draws (a gain). Prints a table in Markdown: of each number of
questions the share of trials with each finding, and the standard error that a true share of 5 % would have.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from secondpass.evaluation.measures import compare
from secondpass.evaluation.settings import Sampling, Settings
from secondpass.evaluation.verdict import Finding, finding_of

SIZES = (3, 5, 10, 20, 50, 200)
SETTINGS = Settings(sampling=Sampling(resamples=999))


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    print(f"{trials} trials; the standard error of a share of 5 % is {(0.05 * 0.95 / trials) ** 0.5:.1%}\n")
    print("| questions | null: helps | hurts | no difference | gain | helps | hurts |\n|---" + "|---" * 6 + "|")
    for questions in SIZES:
        rows = ([f"{share:.1%}" for share in shares(questions, trials, gain=gain)] for gain in (False, True))
        null, found = rows
        print("|", " | ".join([str(questions), *null, f"{true_gain(questions):+.3f}", *found[:2]]), "|", flush=True)


def shares(questions: int, trials: int, *, gain: bool, seed: int = 0) -> tuple[float, float, float]:
    """Return the shares of trials with "helps", "hurts" and "makes no difference"."""
    found = Counter(
        finding_of(compare(before.tolist(), after.tolist(), SETTINGS.sampling), questions, SETTINGS)
        for before, after in draws(questions, trials, gain=gain, seed=seed)
    )
    helps, hurts, none = (found[name] / trials for name in (Finding.HELPS, Finding.HURTS, Finding.NO_DIFFERENCE))
    return helps, hurts, none


def draws(
    questions: int, trials: int, *, gain: bool, seed: int = 0
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield each trial's reciprocal ranks without and with the second pass."""
    chance = np.random.default_rng((seed, questions))
    for _ in range(trials):
        ease = chance.uniform(0.1, 0.9, questions)
        before, after, other = (1 / chance.geometric(ease) for _ in range(3))
        yield before, np.maximum(after, other) if gain else after


def true_gain(questions: int) -> float:
    """Return the mean change of the reciprocal rank where there is a gain."""
    return float(
        np.mean([(after - before).mean() for before, after in draws(questions, 20_000 // questions, gain=True)])
    )


if __name__ == "__main__":
    main()

"""Hard negatives: texts that a first stage ranks high and that aren't relevant, with a guard against unjudged ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from tqdm.auto import tqdm

from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.records import Candidate, Pair, Score
from secondpass.scoring.scorer import Scorer
from secondpass.training.data import Examples, Group, normalised

Retrieve = Callable[[str, int], Sequence[Candidate]]
"""A first stage: from a question and a number k to at most k candidates, best first."""
_Ranked = list[tuple[int, str]]  # ranks in the first stage, from 1, and texts


@dataclass(frozen=True, slots=True)
class Mined:
    """Examples with mined negatives, and what was mined.

    :param examples: The questions that have negatives, as lists.
    :param without_negatives: How many questions have none, and are left out.
    :param negatives: How many negatives were taken.
    :param mean_rank: Their mean rank in the first stage, from 1.
    :param refused: How many candidates the guard took for relevant; None without a guard.
    """

    examples: Examples
    without_negatives: int
    negatives: int
    mean_rank: float
    refused: int | None

    def __str__(self) -> str:
        """Return the figures in one line."""
        questions = len(self.examples.groups)
        guard = "no guard" if self.refused is None else f"{self.refused} refused by the guard"
        return (
            f"{self.negatives} hard negatives for {questions} of {questions + self.without_negatives} questions, mean "
            f"rank {self.mean_rank:.1f}, {guard}"
        )


def mine_negatives(
    questions: Examples | Sequence[Group],
    retrieve: Retrieve,
    *,
    guard: Scorer | None = None,
    margin: float = 1.0,
    negatives: int = 4,
    depth: int = 50,
    progress: bool = True,
) -> Mined:
    """Add hard negatives from a first stage to questions with positives.

    Candidates that are among the question's texts, in whatever spelling, are never taken. Judged negatives stay, and
    count; questions without a positive are left out.

    :param questions: Questions with texts; those with a label above 0 are positives.
    :param retrieve: The first stage: ``Bm25Index(...).search``, ``secondpass.evaluation.retrieve_with(...)``, or any
        function of a question and a number.
    :param guard: A scorer that is better than the model to be trained. It keeps out relevant texts that nobody judged,
        which would teach the opposite of what is right.
    :param margin: How far below the question's weakest positive, in the guard's raw scores, a negative must be. A fixed
        threshold wouldn't do: how high it scores differs from question to question (Moreira et al. 2024,
        https://arxiv.org/abs/2407.15831).
    :param negatives: The most negatives of a question.
    :param depth: How many candidates the first stage is asked for.
    :param progress: Whether a progress bar is shown.
    :raises InputError: If no question has a positive, or none gets a negative.
    :raises ConfigurationError: If negatives or depth are below 1.
    :raises ScoringError: If the guard leaves a pair without a score.
    """
    if min(negatives, depth) < 1:
        raise ConfigurationError(f"negatives and depth must be at least 1, got {negatives} and {depth}")
    groups = questions.groups if isinstance(questions, Examples) else questions
    asked = [group for group in groups if any(label > 0 for label in group.labels or ())]
    if not asked:
        raise InputError("to mine negatives, questions must have positives (labels above 0), and none has")
    kept: list[Group] = []
    ranks: list[int] = []
    refused = 0
    for group in tqdm(asked, desc="mining", disable=not progress):
        labels = group.labels or ()
        wanted = negatives - sum(label <= 0 for label in labels)
        taken, suspected = _accepted(
            group, _unjudged(group, retrieve(group.query, depth)[:depth]), wanted, guard, margin
        )
        refused += suspected
        ranks += [rank for rank, _ in taken]
        if taken or wanted < negatives:
            kept.append(
                Group(group.query, (*group.texts, *(text for _, text in taken)), (*labels, *[0.0] * len(taken)))
            )
    mined = Mined(
        Examples(tuple(kept)),
        len(asked) - len(kept),
        len(ranks),
        fmean(ranks) if ranks else 0.0,
        refused if guard else None,
    )
    if not kept:
        raise InputError(f"no negative was found: {mined}; raise depth, or lower the margin")
    return mined


def _unjudged(group: Group, found: Sequence[Candidate]) -> _Ranked:
    """Return the candidates that aren't among the group's texts, each text once."""
    seen = {normalised(text) for text in group.texts} | {""}
    unjudged: _Ranked = []
    for rank, item in enumerate(found, start=1):
        if (key := normalised(item.text)) not in seen:
            seen.add(key)
            unjudged.append((rank, item.text))
    return unjudged


def _accepted(group: Group, found: _Ranked, wanted: int, guard: Scorer | None, margin: float) -> tuple[_Ranked, int]:
    """Return the first candidates that the guard lets through, and how many it refused.

    The guard reads no more than it must.
    """
    if guard is None or wanted < 1:
        return found[: max(0, wanted)], 0
    positives = [text for text, label in zip(group.texts, group.labels or (), strict=True) if label > 0]
    ceiling = min(_scores(guard, group.query, positives)) - margin
    taken: _Ranked = []
    refused = 0
    for start in range(0, len(found), wanted):
        chunk = found[start : start + wanted]
        scores = _scores(guard, group.query, [text for _, text in chunk])
        passed = [item for item, score in zip(chunk, scores, strict=True) if score <= ceiling]
        refused += len(chunk) - len(passed)
        taken += passed
        if len(taken) >= wanted:
            break
    return taken[:wanted], refused


def _scores(guard: Scorer, query: str, texts: Sequence[str]) -> list[float]:
    outcomes = guard.score_pairs([Pair(query, text) for text in texts]).outcomes
    values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
    if len(values) != len(texts):
        raise ScoringError(f"the guard must score every pair, and left one of {query!r:.60} out")
    return values

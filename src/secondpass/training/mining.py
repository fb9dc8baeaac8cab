"""Hard negatives: texts that a first stage ranks high and that aren't relevant, with a guard against unjudged ones."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from tqdm.auto import tqdm

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.scores import Pair, Score
from secondpass.scoring.scorer import Scorer
from secondpass.training.data import Group, normalised
from secondpass.training.tables import Examples

Retrieve = Callable[[str, int], Sequence[Candidate]]
"""From a question and a number to at most so many candidates, best first."""
_LISTED = 10  # suspected positives that a report shows


@dataclass(frozen=True, slots=True)
class Guard:
    """A teacher that finds relevant texts that nobody judged: they would teach the opposite of what is right.

    :param teacher: A scorer that is better than the model to be trained.
    :param margin: How far below the question's weakest positive, in the teacher's raw scores, a negative must be. A
        fixed threshold wouldn't do: how high a teacher scores differs from question to question (Moreira et al. 2024,
        https://arxiv.org/abs/2407.15831).
    """

    teacher: Scorer
    margin: float = 1.0


@dataclass(frozen=True, slots=True)
class MiningSettings:
    """What is mined.

    :param negatives: The most negatives of a question.
    :param depth: How many candidates the first stage is asked for.
    :param skip: How many of its best to leave out, where there is no guard.
    :param pick: ``"top"`` takes the best that are left, ``"random"`` draws among them.
    :param seed: Of the draw.
    :param progress: Whether a progress bar is shown.
    """

    negatives: int = 4
    depth: int = 50
    skip: int = 0
    pick: Literal["top", "random"] = "top"
    seed: int = 13
    progress: bool = True

    def __post_init__(self) -> None:
        """Check that the numbers can work."""
        if self.negatives < 1 or not 0 <= self.skip < self.depth or self.pick not in {"top", "random"}:
            raise ConfigurationError(
                "negatives must be 1 or more, depth above skip, skip 0 or more, and pick top or random; "
                f"got {self.negatives}, {self.depth}, {self.skip} and {self.pick!r}"
            )


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What was mined.

    :param questions: How many questions were asked.
    :param without_negatives: How many of them have none, and are left out of the examples.
    :param candidates: How many candidates the first stage returned.
    :param known_positives: How many of them were among the question's positives.
    :param suspected_positives: How many the guard refused; None without a guard.
    :param negatives: How many were taken.
    :param mean_rank: Their mean rank in the first stage, from 1.
    :param suspects: Some refused candidates: question, text, and by how much the teacher scores them above (or, if
        below 0, below) the weakest positive.
    """

    questions: int
    without_negatives: int
    candidates: int
    known_positives: int
    suspected_positives: int | None
    negatives: int
    mean_rank: float
    suspects: tuple[tuple[str, str, float], ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the figures in two lines."""
        guard = "no guard" if self.suspected_positives is None else f"{self.suspected_positives} refused by the guard"
        return (
            f"{self.negatives} hard negatives for {self.questions - self.without_negatives} of {self.questions} "
            f"questions, mean rank {self.mean_rank:.1f}\n"
            f"of {self.candidates} candidates {self.known_positives} are known positives, {guard}"
        )


@dataclass(frozen=True, slots=True)
class Mined:
    """Examples with mined negatives, and the report."""

    examples: Examples
    report: MiningReport


def mine_negatives(
    examples: Examples | Sequence[Group],
    retrieve: Retrieve,
    *,
    guard: Guard | None = None,
    settings: MiningSettings | None = None,
) -> Mined:
    """Add hard negatives from a first stage to questions with positives.

    Any first stage will do: ``secondpass.evaluation.retrieve_with(...)`` makes ``retrieve`` of a Chroma collection or
    of a LangChain or LlamaIndex retriever, and ``Bm25Index(texts).search`` is one. (For an embedding model over texts
    in memory, sentence-transformers' ``mine_hard_negatives`` with ``output_format="triplet"`` gives rows for
    ``examples_of``.) Negatives that the examples have already are kept, before the mined ones.

    :param examples: Questions with texts; those with a label above 0 are positives.
    :param retrieve: The first stage.
    :param guard: Refuses candidates that may be relevant; without one, every unjudged candidate counts as a negative.
    :param settings: What is mined.
    :raises InputError: If no question has a positive, or no negative was found for any.
    :raises ScoringError: If the teacher leaves a pair without a score.
    """
    settings = settings or MiningSettings()
    groups = examples.groups if isinstance(examples, Examples) else tuple(examples)
    asked = [group for group in groups if any(label > 0 for label in group.labels or ())]
    if not asked:
        raise InputError("to mine negatives, questions must have positives (labels above 0), and none has")
    miner = _Miner(retrieve, guard, settings)
    mined = [miner.mine(group) for group in tqdm(asked, desc="mining", disable=not settings.progress)]
    kept = tuple(group for group in mined if any(label <= 0 for label in group.labels or ()))
    if not kept:
        raise InputError(
            f"no negative was found for any of {len(asked)} questions: {miner.report(len(asked), 0)}; raise depth, or "
            "lower the guard's margin"
        )
    return Mined(Examples(kept, "lists"), miner.report(len(asked), len(kept)))


class _Miner:
    """Mines question by question, and counts."""

    def __init__(self, retrieve: Retrieve, guard: Guard | None, settings: MiningSettings) -> None:
        self._retrieve, self._guard, self._settings = retrieve, guard, settings
        self._draw = random.Random(settings.seed)
        self._candidates = self._known = self._refused = 0
        self._ranks: list[int] = []
        self._suspects: list[tuple[str, str, float]] = []

    def mine(self, group: Group) -> Group:
        """Return a group with the negatives that were found for it."""
        settings = self._settings
        labels = dict(zip(group.texts, group.labels or (), strict=True))
        positives = [text for text, label in labels.items() if label > 0]
        judged = {normalised(text): label > 0 for text, label in labels.items()}
        found = list(self._retrieve(group.query, settings.depth))[: settings.depth]
        self._candidates += len(found)
        self._known += sum(judged.get(normalised(item.text), False) for item in found)
        texts: dict[str, tuple[int, str]] = {}
        for rank, item in enumerate(found, start=1):
            key = normalised(item.text)
            if rank > settings.skip and key and key not in judged:
                texts.setdefault(key, (rank, item.text))
        unjudged = list(texts.values())
        if settings.pick == "random":
            self._draw.shuffle(unjudged)
        wanted = settings.negatives - sum(label <= 0 for label in labels.values())
        taken = list(self._accepted(group.query, positives, unjudged, wanted)) if wanted > 0 else []
        self._ranks += [rank for rank, _ in taken]
        new = [text for _, text in taken]
        return Group(group.query, (*group.texts, *new), (*(group.labels or ()), *[0.0] * len(new)))

    def report(self, questions: int, kept: int) -> MiningReport:
        """Return the counts."""
        return MiningReport(
            questions=questions,
            without_negatives=questions - kept,
            candidates=self._candidates,
            known_positives=self._known,
            suspected_positives=self._refused if self._guard else None,
            negatives=len(self._ranks),
            mean_rank=fmean(self._ranks) if self._ranks else 0.0,
            suspects=tuple(sorted(self._suspects, key=lambda suspect: -suspect[2])[:_LISTED]),
        )

    def _accepted(
        self, query: str, positives: Sequence[str], unjudged: Sequence[tuple[int, str]], wanted: int
    ) -> Iterable[tuple[int, str]]:
        """Return the first so many candidates that the guard lets through; the teacher reads no more than it must."""
        if self._guard is None:
            return unjudged[:wanted]
        weakest = min(self._scores(query, positives))
        taken: list[tuple[int, str]] = []
        for start in range(0, len(unjudged), wanted):
            chunk = unjudged[start : start + wanted]
            for (rank, text), score in zip(chunk, self._scores(query, [text for _, text in chunk]), strict=True):
                if score > weakest - self._guard.margin:
                    self._refused += 1
                    self._suspects.append((query, text, score - weakest))
                elif len(taken) < wanted:
                    taken.append((rank, text))
            if len(taken) == wanted:
                break
        return taken

    def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        teacher = self._guard.teacher if self._guard else None
        outcomes = teacher.score_pairs([Pair(query, text) for text in texts]).outcomes if teacher else ()
        values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
        if len(values) != len(texts):
            raise ScoringError(f"the guard's teacher must score every pair, and left one of {query!r:.60} out")
        return values

"""The cascade: cheap scorers prune, the last scorer decides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from secondpass.errors import ConfigurationError, checked
from secondpass.fusion import rrf
from secondpass.records import Call, Note, Pair, Score, Scored, Spec, Stage, Unscored, UnscoredReason
from secondpass.scoring.scorer import ComposedScorer, Scorer, by_query, count_tokens, score_checked

Keep = int | float
"""How many candidates go on to the next scorer: a number from 1, or a share between 0 and 1."""


@checked
class Cascade(ComposedScorer):
    """Scores all candidates of a query with a cheap scorer, and the best of them with the next, more precise one.

    All scores in the result are the last scorer's. A pruned candidate is ``Unscored`` as ``PRUNED``, with the cheap
    score that decided, and the selection drops it, also where its ``top_n`` is above ``keep``. With a deadline, later
    scorers read the best candidates first; what they don't reach follows in the cheap order and stays eligible. Each
    query's pairs are pruned by themselves.

    Wang, Lin and Metzler, "A cascade ranking model for efficient ranked retrieval", SIGIR 2011.

    :param scorers: At least two, cheapest first. Their scales may differ: only orders pass from one to the next.
    :param keep: How many of a query's candidates go on: a number, or a share between 0 and 1, rounded up. With more
        than two scorers a list, one entry for each but the last.
    :param first_stage_weight: The weight of the order of the pairs, which is the first stage's, beside the cheap
        scorer's order in what is pruned (reciprocal rank fusion); 0 leaves it out.
    :param name: The name in reports; None joins those of the scorers.
    :raises ConfigurationError: If there are fewer than two scorers, or a setting is out of its range.
    """

    def __init__(
        self,
        *scorers: Scorer,
        keep: Keep | Sequence[Keep] = 30,
        first_stage_weight: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(scorers, "a cascade needs at least two scorers, cheapest first", least=2)
        keeps = tuple(keep) if isinstance(keep, Sequence) else (keep,)
        if len(keeps) != len(scorers) - 1:
            raise ConfigurationError(
                f"keep must have one entry for each scorer but the last, {len(scorers) - 1} here; got {keep!r}"
            )
        for entry in keeps:
            _check_keep(entry)
        if not first_stage_weight >= 0:
            raise ConfigurationError(
                f"first_stage_weight must be 0 (the cheap scorer alone) or more, got {first_stage_weight!r}"
            )
        self.keep = keeps
        self.first_stage_weight = first_stage_weight
        self._name = name or " > ".join(scorer.spec.name for scorer in scorers)

    def __repr__(self) -> str:
        """Return the scorers, and how many candidates go on."""
        scorers, weight = ", ".join(map(repr, self.scorers)), self.first_stage_weight
        return f"Cascade({scorers}, keep={list(self.keep)}, first_stage_weight={weight:g})"

    @property
    def spec(self) -> Spec:
        """The last scorer's specification, with the cascade's own name and fingerprint."""
        return self._spec([scorer.spec for scorer in self.scorers])

    def _spec(self, specs: Sequence[Spec]) -> Spec:
        """Return the specification of a result in which scorers with these specifications answered."""
        parts = (*(spec.fingerprint for spec in specs), self.keep, self.first_stage_weight)
        fingerprint = "|".join(map(str, ("cascade", *parts)))
        invariant = all(spec.batch_invariant for spec in specs)
        return replace(specs[-1], name=self._name, fingerprint=fingerprint, batch_invariant=invariant, pointwise=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If a scorer failed.
        """
        groups = by_query(pairs)
        outcomes: dict[int, Score | Unscored] = {}
        stages: list[Stage] = []
        notes: list[Note] = []
        specs = [scorer.spec for scorer in self.scorers]
        for turn, (scorer, keep) in enumerate(zip(self.scorers, (*self.keep, None), strict=True)):
            if keep is not None and all(len(group) <= _most(keep, len(group)) for group in groups):
                continue  # nothing to prune
            positions = [position for group in groups for position in group]
            scored = score_checked(scorer, [pairs[position] for position in positions], call)
            specs[turn] = scored.by
            notes += (note for note in scored.notes if note not in notes)
            results = dict(zip(positions, scored.outcomes, strict=True))
            if keep is None:
                outcomes |= {position: _final(results[position], outcomes.get(position)) for position in positions}
                stages += scored.stages
            else:
                ordered = [self._order(sorted(group), results) for group in groups]
                for group in ordered:
                    outcomes |= _pruned(group, results, keep, scored.by.name)
                groups = [_going_on(group, results, keep) for group in ordered]
                stages += [_with_facts(stage, len(positions), sum(map(len, groups))) for stage in scored.stages]
        in_order = tuple(outcomes[position] for position in range(len(pairs)))
        return Scored(in_order, self._spec(specs), tuple(stages), tuple(notes))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the last scorer counts them."""
        return count_tokens(self.scorers[-1], texts)

    def _order(self, group: Sequence[int], results: Mapping[int, Score | Unscored]) -> list[int]:
        """Return a query's pairs, given in first-stage order, best first."""
        outcomes = [results[position] for position in group]
        scores = [outcome.value if isinstance(outcome, Score) else None for outcome in outcomes]
        return [group[place] for place in pruning_order(scores, self.first_stage_weight)]


def pruning_order(scores: Sequence[float | None], first_stage_weight: float = 0.0) -> list[int]:
    """Return the positions of a query's pairs by cheap score, best first; those without a score come last.

    :param scores: The cheap scores in first-stage order, which breaks ties.
    :param first_stage_weight: The weight of the first-stage order; see ``Cascade``.
    """
    known = {position: score for position, score in enumerate(scores) if score is not None}
    order = sorted(known, key=lambda position: -known[position])
    if first_stage_weight:
        fused = {p: rrf(rank) + first_stage_weight * rrf(p + 1) for rank, p in enumerate(order, start=1)}
        order.sort(key=lambda position: -fused[position])
    return order + [position for position in range(len(scores)) if position not in known]


def _check_keep(keep: object) -> None:
    number = isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1
    if not number and not (isinstance(keep, float) and 0 < keep < 1):
        raise ConfigurationError(
            f"keep must be a whole number from 1, or a share between 0 and 1, of candidates that go on; got {keep!r}"
        )


def _most(keep: Keep, candidates: int) -> int:
    return keep if isinstance(keep, int) else math.ceil(keep * candidates)


def _going_on(ordered: Sequence[int], results: Mapping[int, Score | Unscored], keep: Keep) -> list[int]:
    """Return the best pairs of a query that have a score, or aren't readable for this scorer; the order is theirs."""
    going_on = ordered[: _most(keep, len(ordered))]
    return [position for position in going_on if _may_be_scored(results[position])]


def _may_be_scored(outcome: Score | Unscored) -> bool:
    return isinstance(outcome, Score) or outcome.reason is UnscoredReason.UNREADABLE


def _pruned(
    ordered: Sequence[int], results: Mapping[int, Score | Unscored], keep: Keep, by: str
) -> dict[int, Unscored]:
    """Return each pair's outcome should no later scorer give it another one, with its place in this order.

    What the scorer left unscored (by a deadline, or as invalid) stays so.
    """
    going_on = len(_going_on(ordered, results, keep))
    outcomes: dict[int, Unscored] = {}
    for place, position in enumerate(ordered):
        result = results[position]
        if isinstance(result, Unscored):
            outcomes[position] = replace(result, fallback_rank=place)
        else:
            detail = (
                f"place {place + 1} of {len(ordered)} by {by} ({result.value:.2f}), and the best {going_on} went on"
            )
            outcomes[position] = Unscored(UnscoredReason.PRUNED, detail, result.value, place)
    return outcomes


def _final(outcome: Score | Unscored, before: Score | Unscored | None) -> Score | Unscored:
    """Return the last scorer's outcome; one without a score keeps the cheap score and its place."""
    if isinstance(outcome, Unscored) and isinstance(before, Unscored):
        return replace(outcome, cheap_score=before.cheap_score, fallback_rank=before.fallback_rank)
    return outcome


def _with_facts(stage: Stage, given: int, going_on: int) -> Stage:
    return replace(stage, facts={**stage.facts, "went_on": going_on, "pruned": given - going_on})

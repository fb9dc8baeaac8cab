"""Score fusion: alpha-weighted sigmoid, min-max and reciprocal ranks, and what mixing raw scores does."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from examples.common import ChromaIndex, passages, questions
from secondpass import Candidate, ReciprocalRank, Scorer, WeightedSum, load_scorer
from secondpass.evaluation import Bm25Index
from secondpass.fusion import FusionInput
from secondpass.records import LOGIT, Pair, Score

Rule = Callable[[Sequence[FusionInput]], list[float]]
"""From scored candidates to one value for each."""


def sigmoid_mix(alpha: float) -> Rule:
    """Return ``(1 - alpha) * sigmoid(logit) + alpha * first stage``, for a first stage whose scores are within 0..1."""

    def fuse(inputs: Sequence[FusionInput]) -> list[float]:
        probabilities = [LOGIT.probability(item.value) or 0.0 for item in inputs]
        first = [item.candidate.score or 0.0 for item in inputs]
        return [(1 - alpha) * model + alpha * score for model, score in zip(probabilities, first, strict=True)]

    return fuse


def raw_mix(alpha: float) -> Rule:
    """Return ``(1 - alpha) * logit + alpha * first stage``: the mistake, since both are on scales of their own."""

    def fuse(inputs: Sequence[FusionInput]) -> list[float]:
        return [(1 - alpha) * item.value + alpha * (item.candidate.score or 0.0) for item in inputs]

    return fuse


RULES: Mapping[str, Rule] = {
    "first stage alone": lambda inputs: [-float(item.rank_before) for item in inputs],
    "model alone": lambda inputs: [item.value for item in inputs],
    "sigmoid, alpha 0.3": sigmoid_mix(0.3),
    "min-max, alpha 0.3": WeightedSum(alpha=0.3).fuse,
    "min-max, alpha 0.5": WeightedSum(alpha=0.5).fuse,
    "reciprocal ranks": ReciprocalRank().fuse,
    "raw, alpha 0.3": raw_mix(0.3),
    "raw, alpha 0.5": raw_mix(0.5),
}


def score(scorer: Scorer, query: str, candidates: Sequence[Candidate]) -> list[FusionInput]:
    """Return the candidates with the model's values; the model runs once, whatever the rules."""
    outcomes = scorer.score_pairs([Pair(query, candidate.text) for candidate in candidates]).outcomes
    return [
        FusionInput(candidate, outcome.value, rank)
        for rank, (candidate, outcome) in enumerate(zip(candidates, outcomes, strict=True), start=1)
        if isinstance(outcome, Score)
    ]


def best_first(rule: Rule, inputs: Sequence[FusionInput]) -> list[str | None]:
    """Return the ids in a rule's order, ties by first-stage rank."""
    values = rule(inputs)
    order = sorted(range(len(inputs)), key=lambda place: (-values[place], inputs[place].rank_before))
    return [inputs[place].candidate.id for place in order]


def reciprocal_rank(ids: Sequence[str | None], relevant: set[str]) -> float:
    """Return 1 / the rank of the first relevant text among the first 10, or 0."""
    return next((1.0 / rank for rank, key in enumerate(ids[:10], start=1) if key in relevant), 0.0)


def main(model: str = "nano", topics: Sequence[str] = (), depth: int = 50) -> None:
    """Print the mean reciprocal rank of each rule over both first stages."""
    texts = passages(topics)
    judged = questions(texts)
    scorer = load_scorer(model)
    first_stages = {"dense": ChromaIndex(texts).search, "BM25": Bm25Index(texts).search}
    inputs = {
        name: [score(scorer, question.text, retrieve(question.text, depth)) for question in judged]
        for name, retrieve in first_stages.items()
    }
    for name, of_questions in inputs.items():
        values = [item.candidate.score or 0.0 for scored in of_questions for item in scored]
        print(f"{name} scores: {min(values):.2f} to {max(values):.2f}", end="; ")
    logits = [item.value for of_questions in inputs.values() for scored in of_questions for item in scored]
    print(f"logits: {min(logits):.2f} to {max(logits):.2f}")
    print(f"MRR@10 of {len(judged)} questions, {depth} candidates, {model}")
    print(f"{'rule':22}" + "".join(f"{name:>8}" for name in inputs))
    for name, rule in RULES.items():
        means = [
            statistics.fmean(
                reciprocal_rank(best_first(rule, scored), set(question.relevant))
                for question, scored in zip(judged, of_questions, strict=True)
            )
            for of_questions in inputs.values()
        ]
        print(f"{name:22}" + "".join(f"{mean:8.3f}" for mean in means))


if __name__ == "__main__":
    main()

"""What orders candidates: the value that decides, their relevance, and the order in which the LLM reads them."""

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

from secondpass.ranking import Ranked

Order = Literal["relevance", "original", "ends"]
ORDERS: tuple[Order, ...] = get_args(Order)

_Ranked = TypeVar("_Ranked", bound=Ranked)


def in_reading_order(ranked: Sequence[_Ranked], order: Order) -> list[_Ranked]:
    """Return candidates, given best first, in reading order.

    ``"relevance"`` is best first. ``"original"`` is the first stage's order. ``"ends"`` puts the best at both ends and
    the weakest in the middle, where LLMs use long contexts least: Liu et al., "Lost in the middle: how language models
    use long contexts", TACL 2024. Of five candidates, the best are then read in the order 1, 3, 5, 4, 2.

    :param ranked: The candidates, best first.
    :param order: One of ``ORDERS``.
    """
    if order == "original":
        return sorted(ranked, key=lambda item: item.rank_before)
    if order == "ends":
        return [*ranked[::2], *ranked[1::2][::-1]]
    return list(ranked)


def deciding(item: Ranked) -> float | None:
    """Return the value that decides a candidate's place: the fused one where there is fusion, else its score."""
    return item.score if item.fused is None else item.fused


def relevances(ranked: Sequence[Ranked]) -> list[float]:
    """Return each candidate's relevance from 0 to 1, 0 without a score.

    It is the probability; with fusion, or on a scale without probabilities, it is the value that decides, scaled to 0
    to 1 over the candidates.
    """
    scored = [item for item in ranked if item.score is not None]
    if all(item.fused is None and item.probability is not None for item in scored):
        return [item.probability or 0.0 for item in ranked]
    return scaled([deciding(item) for item in ranked])


def scaled(values: Sequence[float | None]) -> list[float]:
    """Return values scaled to 0 to 1 between the lowest and the highest; equal ones are 1, missing ones 0."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    width = high - low
    return [0.0 if value is None else (value - low) / width if width else 1.0 for value in values]

"""Reading orders: in which order the kept candidates stand in the LLM's context."""

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

"""The order in which the reader sees what was kept."""

from collections.abc import Sequence
from typing import Literal

from secondpass.ranking import Judged

Order = Literal["relevance", "original", "ends"]
ORDERS: tuple[Order, ...] = ("relevance", "original", "ends")


def reading_order(judged: Sequence[Judged], order: Order) -> list[int]:
    """Return the positions of ``judged``, which is best first, in reading order.

    ``"relevance"`` is best first. ``"original"`` is the first stage's order. ``"ends"`` puts the best at both ends
    and the weakest in the middle, where long contexts are read worst: Liu et al., "Lost in the middle: how language
    models use long contexts", TACL 2024.
    """
    positions = list(range(len(judged)))
    if order == "original":
        return sorted(positions, key=lambda position: judged[position].rank_before)
    if order == "ends":
        return positions[::2] + positions[1::2][::-1]
    return positions

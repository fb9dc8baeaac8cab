"""Reading orders: in which order the kept candidates stand in the LLM's context."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, TypeVar

from secondpass.candidates import Candidate
from secondpass.ranking import Kept, Ranked

Order = Literal["relevance", "original", "ends", "stable"]
ORDERS: tuple[Order, ...] = ("relevance", "original", "ends", "stable")

Previous = Sequence[tuple[Candidate, str]]
"""The candidates of the previous context and their kept texts, in reading order."""

_Ranked = TypeVar("_Ranked", bound=Ranked)


def in_reading_order(ranked: Sequence[_Ranked], order: Order, previous: Previous = ()) -> list[_Ranked]:
    """Return candidates, given best first, in reading order.

    ``"relevance"`` is best first. ``"original"`` is the first stage's order. ``"ends"`` puts the best at both ends and
    the weakest in the middle, where LLMs use long contexts least: Liu et al., "Lost in the middle: how language models
    use long contexts", TACL 2024. Of five candidates, the best are then read in the order 1, 3, 5, 4, 2. ``"stable"``
    begins as the previous context did, so that the LLM's prefix cache holds, up to the first candidate that is gone or
    has another text; the others follow, best first.

    :param ranked: The candidates, best first.
    :param order: One of ``ORDERS``.
    :param previous: The previous context, for ``"stable"``.
    """
    if order == "original":
        return sorted(ranked, key=lambda item: item.rank_before)
    if order == "ends":
        return [*ranked[::2], *ranked[1::2][::-1]]
    if order == "stable":
        first = _repeated(ranked, previous)
        return [ranked[index] for index in dict.fromkeys([*first, *range(len(ranked))])]
    return list(ranked)


def _repeated(ranked: Sequence[Ranked], previous: Previous) -> list[int]:
    """Return the positions of the candidates with which the previous context began, as far as they are here again."""
    texts, ids = defaultdict(list), defaultdict(list)
    for index, item in enumerate(ranked):
        texts[_text(item)].append(index)
        ids[item.candidate.id].append(index)
    repeated: list[int] = []
    for candidate, text in previous:
        same = texts[text] + (ids[candidate.id] if candidate.id is not None else [])
        again = [index for index in same if index not in repeated]
        if not again:
            break
        again.sort(key=lambda index: ranked[index].candidate.id != candidate.id)  # of the same text, that with the id
        repeated.append(again[0])
        if _text(ranked[again[0]]) != text:
            break
    return repeated


def _text(item: Ranked) -> str:
    return item.text if isinstance(item, Kept) else item.candidate.reading

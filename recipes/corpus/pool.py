"""The pool of passages that every query is compared with: no copies, and nothing that a judge will ask about."""

import re
from collections.abc import Iterable

from recipes.corpus.records import Passage, normalised

_SHINGLE = 8  # words in a row that two texts rarely share by chance
_TOO_MANY = 3  # shared shingles that make a text a near copy


def unique(passages: Iterable[Passage], forbidden: Iterable[str]) -> list[Passage]:
    """Return the passages without copies and near copies of each other and of the forbidden texts, in order.

    :param passages: The earlier of two near copies stays; one that qrels name goes only if it is the very same text.
    :param forbidden: The judges' texts.
    """
    judged = {shingle for text in forbidden for shingle in _shingles(text)}
    seen: set[int] = set()
    texts: set[str] = set()
    kept: list[Passage] = []
    for passage in sorted(passages, key=lambda passage: not passage.key):  # stable: the named ones first
        if passage.text in texts:
            continue
        mine = _shingles(passage.text)
        copied = sum(shingle in seen for shingle in mine)
        if len(mine & judged) >= _TOO_MANY or (not passage.key and copied > max(_TOO_MANY, len(mine) // 4)):
            continue
        seen |= mine
        texts.add(passage.text)
        kept.append(passage)
    return kept


def _shingles(text: str) -> set[int]:
    """Return a number for each run of words, good for comparisons within one process."""
    tokens = normalised(re.sub(r"['’]", "", text)).split()
    last = max(1, len(tokens) - _SHINGLE + 1)
    return {hash(tuple(tokens[start : start + _SHINGLE])) for start in range(last)}

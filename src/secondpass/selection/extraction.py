"""Extraction: the best windows of all candidates fill the budget, instead of whole candidates.

Windows are taken greedily by their gain, p - weight * p * similarity for a relevance p, until none fits any more:

- similarity: the share of a window's shingles (3 words, or 3 characters in scripts without blanks) that the context
  already has. It is at least the largest similarity to any one window in it, and takes time linear in the window.
- weight: 1 - (1 - diversity) * budget / pool, at least 0, both in tokens. A copy of what is already there is worth
  nothing where the budget is scarce, and without diversity loses nothing where everything fits. The term is in
  proportion to p, since most windows have probabilities near 0: else a common phrase would outweigh all differences
  between them.

The best window is taken first, so that no bundle of weaker ones replaces it. A gain never grows while the context does:
the maximal one is found lazily (Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heapreplace

from secondpass.ranking import Dropped, Kept, Ranked, Reason
from secondpass.records import Score, Window
from secondpass.selection.attempts import LONGEST_TOKEN, Packed, PackingAttempt, best_attempt, keep, over_top_n
from secondpass.selection.budget import ContextBudget
from secondpass.selection.filters import drop
from secondpass.selection.order import Order, in_reading_order, relevances
from secondpass.selection.sequence import PackingSequence, Refusals

GAP = " [...] "
"""What stands for the text between two extracts of a candidate."""
_SHINGLE = 3  # words
_LONGEST_WORD = 15  # characters; where words are longer on average, the script has no blanks between them

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A window that can be extracted, or a candidate as a whole.

    :param row: The candidate's position, best first.
    :param span: Where it stands in the text that the LLM reads.
    :param relevance: From 0 to 1; see ``read_pieces``.
    :param tokens: Its tokens; infinite where it is too long to be counted.
    :param scored: Whether it has a score; those without one follow all others.
    """

    row: int
    span: Span
    relevance: float
    tokens: float
    scored: bool = True


def read_pieces(
    ranked: Sequence[Ranked], min_probability: float | None, size: Callable[[Ranked, Span], float]
) -> Iterator[Piece]:
    """Yield the pieces of all candidates, of each the best first.

    A window is as relevant as its candidate, in proportion to the candidate's best window: so the value that decides,
    such as a fused one, decides here too.

    :param ranked: The candidates.
    :param min_probability: Leave out windows below it, but for each candidate's best; None for none.
    :param size: The tokens of a part of a candidate.
    """
    low = min((window.value for item in ranked for window in _windows(item)), default=0.0)
    for row, (item, relevance) in enumerate(zip(ranked, relevances(ranked), strict=True)):
        placed = placed_windows(item)
        if not placed:
            span = (0, len(item.candidate.reading))
            yield Piece(row, span, relevance, size(item, span), scored=item.score is not None)
            continue
        best = max(_strength(window, low) for window in _windows(item))
        for at, (window, span) in enumerate(placed):
            probability = window.probability
            if at and min_probability is not None and probability is not None and probability < min_probability:
                break
            share = _strength(window, low) / best if best > 0 else 1.0
            yield Piece(row, span, relevance * share, size(item, span))


def placed_windows(item: Ranked) -> list[tuple[Window, Span]]:
    """Return the windows of a candidate, best first, and where they stand in the text that the LLM reads.

    There are none where the candidate was scored as a whole, and where the LLM reads another text.
    """
    windows = _windows(item) if len(_windows(item)) > 1 else ()
    spans = item.candidate.reading_spans([(window.start, window.end) for window in windows])
    placed = [(window, span) for window, span in zip(windows, spans, strict=True) if span]
    return sorted(placed, key=lambda pair: -pair[0].value)


def _windows(item: Ranked) -> Sequence[Window]:
    return item.outcome.windows if isinstance(item.outcome, Score) else ()


def _strength(window: Window, low: float) -> float:
    """Return a window's probability; on a scale without, how far its value is above the pool's lowest."""
    return window.value - low if window.probability is None else window.probability


def whole(item: Ranked) -> Span:
    """Return the span of all that follows a candidate's header."""
    return item.candidate.header_length, len(item.candidate.reading)


def shingles_of(text: str) -> frozenset[object]:
    """Return a text's shingles: 3 words each, or 3 characters in scripts without blanks."""
    words = text.casefold().split()
    units: Sequence[str] = words if len(text) <= _LONGEST_WORD * len(words) else "".join(words)
    return frozenset(zip(*(units[start:] for start in range(min(_SHINGLE, len(units)))), strict=False))


def merge_spans(spans: Iterable[Span], text: str) -> list[Span]:
    """Return spans in rising order, those merged between which there is at most blank space."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and not text[merged[-1][1] : start].strip():
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def excerpt(item: Ranked, spans: Sequence[Span]) -> tuple[str, Sequence[Span]]:
    """Return the text of extracts and all of its spans: a header comes first, and is part of it."""
    reading, header = item.candidate.reading, item.candidate.header_length
    first, last = spans[0][0], spans[-1][1]
    if len(spans) == 1 and not (reading[header:first].strip() or reading[last:].strip()):
        return reading, ((0, len(reading)),)
    text = reading[:header] + GAP.join(reading[start:end] for start, end in spans)
    if not header:
        return text, tuple(spans)
    if first == header:
        return text, ((0, spans[0][1]), *spans[1:])
    return text, ((0, header), *spans)


_MAX_REVISIONS = 16  # how often a gain is computed anew, so that the work is linear


@dataclass(slots=True)
class _Choice(PackingAttempt):
    """An attempt of pieces.

    :param spans: The chosen spans of each candidate, in rising order, adjacent ones merged.
    :param shingles: The shingles of the context.
    """

    spans: dict[int, list[Span]] = field(default_factory=dict)
    shingles: set[object] = field(default_factory=set)


def extract(
    ranked: Sequence[Ranked],
    budget: ContextBudget,
    order: Order = "relevance",
    top_n: int | None = None,
    min_probability: float | None = None,
    sequence: PackingSequence | None = None,
) -> Packed:
    """Fill the budget with windows of candidates, which are given best first; nothing is kept where none fits.

    :param ranked: The candidates. One that was scored as a whole is one window, one without a score too, after all
        others.
    :param budget: The budget.
    :param order: The reading order of candidates; within one, extracts are in the order of its text.
    :param top_n: The most candidates from which windows are taken; None for no limit.
    :param min_probability: Leave out windows below it, but for each candidate's best.
    :param sequence: Which candidates the kept rule out, and the diversity; None rules out none.
    """
    extractor = _Extractor(ranked, budget, order, top_n, min_probability, sequence or PackingSequence(ranked))
    choice = best_attempt(extractor.attempt, budget.max_tokens) or PackingAttempt(budget.max_tokens)
    kept = [extractor.counted(item) for item in in_reading_order(choice.kept, order)]
    return Packed(kept, choice.dropped, choice.context, choice.tokens)


class _Extractor:
    """Makes choices of pieces, and counts each piece only once."""

    def __init__(
        self,
        ranked: Sequence[Ranked],
        budget: ContextBudget,
        order: Order,
        top_n: int | None,
        min_probability: float | None,
        sequence: PackingSequence,
    ) -> None:
        self._sequence = sequence
        self._ranked = ranked
        self._budget = budget
        self._counted = budget.counting.count
        self._order = order
        self._top_n = top_n
        self._overhead = max(0, self._counted(""))
        self._separator, self._gap = (max(0, self._counted(text) - self._overhead) for text in (budget.separator, GAP))
        self._heads: dict[str, int] = {}
        self._counts: dict[tuple[int, str], int] = {}
        self._shingles: dict[Piece, frozenset[object]] = {}
        self._pieces = list(read_pieces(ranked, min_probability, self._size))
        pool = sum(piece.tokens for piece in self._pieces)
        self._weight = 1.0 - (1.0 - sequence.rules.diversity) * min(1.0, budget.max_tokens / max(1.0, pool))

    def attempt(self, target: int) -> _Choice:
        """Choose pieces, the highest gain first, whose tokens add up to the target at most."""
        choice = _Choice(target)
        refused: dict[int, Dropped] = {}
        refusals = Refusals(self._sequence, choice.chosen)
        revisions = [0] * len(self._pieces)
        heap = [(not piece.scored, -piece.relevance, at) for at, piece in enumerate(self._pieces)]
        heapify(heap)
        while heap:
            unscored, gain, at = heap[0]
            piece = self._pieces[at]
            new = piece.row not in choice.spans
            why = (refusals.of(piece.row) if new else None) or self._refusal(choice, piece)
            if why:
                refused.setdefault(piece.row, why)
                heappop(heap)
                continue
            revised = -self._gain(choice, piece)
            revisions[at] += 1
            if revised > gain and revisions[at] < _MAX_REVISIONS:
                heapreplace(heap, (unscored, revised, at))
            else:
                self._add(choice, piece)
                heappop(heap)
        return self._joined(choice, refused)

    def counted(self, kept: Kept) -> Kept:
        """Return a kept candidate with its own tokens, and with those that were left out."""
        tokens = self._rendered(kept, kept.text)
        reading = kept.candidate.reading
        whole = tokens if kept.text == reading else self._rendered(kept, reading)
        return replace(kept, tokens=tokens, cut=max(0, whole - tokens))

    def _size(self, item: Ranked, span: Span) -> float:
        """Return the tokens of a piece without template and header; infinite if it is far too long to be counted."""
        start, end = span
        if end - start > LONGEST_TOKEN * max(1, self._budget.max_tokens):
            return math.inf
        reading = item.candidate.reading
        whole = end - start == len(reading)
        tokens = self._rendered(item, reading) - self._head(item) if whole else self._counted(reading[start:end])
        return max(0, tokens - self._overhead)

    def _gain(self, choice: _Choice, piece: Piece) -> float:
        if not (self._weight and choice.spans):
            return piece.relevance
        shingles = self._shingled(piece)
        repeated = len(shingles & choice.shingles) / max(1, len(shingles))
        inside = self._inside(choice, piece)
        similarity = max(0.0, repeated - inside) / (1.0 - inside) if inside < 1.0 else 0.0
        return piece.relevance * (1.0 - self._weight * similarity)

    def _inside(self, choice: _Choice, piece: Piece) -> float:
        """Return the share of a piece that stands in the chosen spans of its own candidate."""
        if piece.row not in choice.spans:
            return 0.0
        start, end = piece.span
        covered = sum(max(0, min(end, b) - max(start, a)) for a, b in choice.spans[piece.row])
        return covered / max(1, end - start)

    def _cost(self, choice: _Choice, piece: Piece) -> float:
        """Return what a piece adds to the sum of tokens."""
        spans = choice.spans.get(piece.row)
        if spans is None:
            return (
                piece.tokens
                + self._head(self._ranked[piece.row])
                + (self._separator if choice.spans else self._overhead)
            )
        merged = len(merge_spans([*spans, piece.span], self._ranked[piece.row].candidate.reading))
        new = piece.tokens * (1.0 - self._inside(choice, piece))
        if new == math.inf:
            return new
        return math.ceil(new) + self._gap * (merged - len(spans))

    def _refusal(self, choice: _Choice, piece: Piece) -> Dropped | None:
        """Return why a piece can't be added, as the record of its candidate; None where it can."""
        item = self._ranked[piece.row]
        if piece.row not in choice.spans and len(choice.spans) == self._top_n:
            return over_top_n(item, self._top_n)
        cost = self._cost(choice, piece)
        if cost <= choice.left:
            return None
        size = f"{cost} tokens" if cost < math.inf else f"{piece.span[1] - piece.span[0]} characters"
        return drop(item, Reason.OVER_BUDGET, f"its best window: {size}, {choice.left} left")

    def _add(self, choice: _Choice, piece: Piece) -> None:
        if piece.row not in choice.spans:
            choice.chosen.append(piece.row)
        choice.total += int(min(self._cost(choice, piece), 2.0**53))
        reading = self._ranked[piece.row].candidate.reading
        choice.spans[piece.row] = merge_spans([*choice.spans.get(piece.row, ()), piece.span], reading)
        if self._weight:
            choice.shingles |= self._shingled(piece)

    def _shingled(self, piece: Piece) -> frozenset[object]:
        if piece not in self._shingles:
            self._shingles[piece] = shingles_of(self._ranked[piece.row].candidate.reading[slice(*piece.span)])
        return self._shingles[piece]

    def _joined(self, choice: _Choice, refused: dict[int, Dropped]) -> _Choice:
        """Write down a choice's kept and dropped candidates, and count its joined text."""
        for row, item in enumerate(self._ranked):
            if row in choice.spans:
                text, spans = excerpt(item, choice.spans[row])
                choice.kept.append(keep(item, text, len(choice.kept) + 1, None, spans=spans))
            else:
                choice.dropped.append(refused[row])
        read = in_reading_order(choice.kept, self._order)
        choice.context = self._budget.join([(item.candidate, item.text) for item in read])
        choice.tokens = self._counted(choice.context) if read else 0
        return choice

    def _rendered(self, item: Ranked, text: str) -> int:
        key = (item.index, text)
        if key not in self._counts:
            self._counts[key] = self._counted(self._budget.render(1, item.candidate, text))
        return self._counts[key]

    def _head(self, item: Ranked) -> int:
        """Return the tokens of a candidate's template and header."""
        header = item.candidate.reading[: item.candidate.header_length]
        written = self._budget.render(1, item.candidate, header)
        if written not in self._heads:
            self._heads[written] = max(0, self._counted(written) - self._overhead)
        return self._heads[written]

"""What a model reads of a pair: the part of a long text that fills its window, and both ends of a long query."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from secondpass.errors import contained
from secondpass.records import Call, Pair, Unscored, UnscoredReason
from secondpass.scoring.engine import Encoded, Engine
from secondpass.text import well_formed, whole_character

MAX_TEXT_CHARACTERS = 100_000
"""How much of a text is tokenised at first, far more than a model reads; the tokens of the rest are estimated."""
MOST_TEXT_CHARACTERS = 32 * MAX_TEXT_CHARACTERS
"""How much of a text of few tokens is tokenised at most; long runs of blanks or of one character are shortened."""
MAX_QUERY_CHARACTERS = 10_000
"""How much of each end of a query is tokenised."""
QUERY_SHARE = 8
"""Of a query that takes more than half of the window, an eighth of the window is read, half of it from each end. With a
question before or behind 600 tokens of other passages, the bundled model ranks by chance if it reads half a window of
them (mean reciprocal rank of one among ten 0.28), and finds 0.46 with 32 tokens of each end."""
_RUN = re.compile(r"(\s{100})\s+|((\S)\3{199})\3+")
_FAILED = Unscored(UnscoredReason.FAILED, "the model's tokenizer failed on this pair")

Count = Callable[[Sequence[str]], list[int]]


class PairReader:
    """Tokenises the pairs of one call.

    :param engine: The engine.
    :param call: Its end stops the reading of long texts.
    """

    def __init__(self, engine: Engine, call: Call) -> None:
        self._engine = engine
        self._call = call
        self._most = engine.facts.spec.max_tokens
        self._queries: dict[str, tuple[str, int, str, int]] = {}
        self._around: int | None = None

    def read(self, pairs: Sequence[Pair]) -> list[Encoded | Unscored]:
        """Return each pair's tokens, or why it isn't scored."""
        queries = [self._fitting(pair) for pair in pairs]
        short = [Pair(query, well_formed(pair.text)) for pair, (query, _) in zip(pairs, queries, strict=True)]
        usual = iter(self._encode([pair for pair in short if not _is_long(pair)]))
        encoded = [self._long(pair) if _is_long(pair) else next(usual) for pair in short]
        return [_outcome(item, cut) for item, (_, cut) in zip(encoded, queries, strict=True)]

    def _encode(self, pairs: Sequence[Pair]) -> list[Encoded | None]:
        return contained(self._engine.encode, pairs, lambda _: None) if pairs else []

    def _count(self, text: str) -> int:
        return count_tokens(self._engine, [text])[0]

    def _fitting(self, pair: Pair) -> tuple[str, int]:
        """Return the query as it is read beside a text, and the tokens that are cut from it.

        It is whole where it takes half of the window at most, or both fit.
        """
        if pair.query not in self._queries:
            self._queries[pair.query] = self._measured(pair.query)
        whole, tokens, short, cut = self._queries[pair.query]
        if cut and tokens + self._special + self._count(pair.text[:MAX_TEXT_CHARACTERS]) > (self._most or 0):
            return short, cut
        return whole, 0

    def _measured(self, query: str) -> tuple[str, int, str, int]:
        """Return a query, its tokens, its ends, and the tokens that are not in them; 0 where it needs no cut."""
        whole = well_formed(query)
        if self._most is None or 8 * len(whole) < self._most:  # four tokens a character at most
            return whole, 0, whole, 0
        ends = _ends(whole, 2 * MAX_QUERY_CHARACTERS)
        tokens = self._count(ends)
        lost = 0 if ends == whole else max(1, tokens * len(whole) // len(ends) - tokens)
        short, kept = ends, tokens
        if 2 * tokens > self._most - self._special:
            short, kept = _shortened(ends, tokens, max(1, self._most // QUERY_SHARE), self._count)
        return ends, self._most if lost else tokens, short, lost + tokens - kept

    @property
    def _special(self) -> int:
        """The tokens of a pair beside those of query and text: special ones, and those of a template."""
        if self._around is None:
            (pair,) = self._engine.encode([Pair("a", "a")])
            self._around = pair.length - 2 * self._count("a")
        return self._around

    def _long(self, pair: Pair) -> Encoded | None:
        """Return the tokens of a pair with a very long text, of which as much is read as fills the window."""
        text, size, last = pair.text, MAX_TEXT_CHARACTERS, self._engine.facts.reads_end
        while True:
            part = text[-size:] if last else text[:size]
            (encoded,) = self._encode([Pair(pair.query, part)])
            if encoded is None:
                return None
            full = self._most is None or encoded.length >= self._most
            if full or size >= min(len(text), MOST_TEXT_CHARACTERS) or self._call.stop_reason():
                break
            if size == MAX_TEXT_CHARACTERS:
                text = _RUN.sub(r"\1\2", text)
            size *= 2
        rest = (text[:-size] if last else text[size:]).strip()
        if not rest:
            return encoded
        density = (encoded.length + encoded.truncated) / (len(pair.query) + len(part))
        return replace(encoded, truncated=encoded.truncated + max(1, round(density * len(rest))))


def count_tokens(engine: Engine, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text; where the tokenizer fails on one, three of its bytes are a token."""
    formed = [well_formed(text) for text in texts]
    return contained(engine.count_tokens, formed, lambda text: -(-len(text.encode()) // 3))


def _is_long(pair: Pair) -> bool:
    return len(pair.text) > MAX_TEXT_CHARACTERS


def _outcome(encoded: Encoded | None, query_cut: int) -> Encoded | Unscored:
    if encoded is None:
        return _FAILED
    if encoded.unreadable:
        return Unscored(UnscoredReason.UNREADABLE, encoded.unreadable)
    return replace(encoded, query_cut=query_cut) if query_cut else encoded


def _shortened(text: str, tokens: int, limit: int, count: Callable[[str], int]) -> tuple[str, int]:
    """Return both ends of a text within a maximum number of tokens, and their tokens."""
    kept, short = len(text), text
    while tokens > limit:
        kept = min(kept - 1, kept * limit // tokens)
        short = _ends(text, kept)
        tokens = count(short)
    return short, tokens


def _ends(text: str, characters: int) -> str:
    """Return the beginning and the end of a text, where it exceeds a number of characters."""
    if len(text) <= characters:
        return text
    first = whole_character(text, characters // 2)
    last = whole_character(text, len(text) - characters + first)
    return f"{text[:first]} ... {text[last:]}" if first else text[last:]

"""Tokenised texts, kept from call to call, and pairs put together from them."""

import json
import sys
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordPiece

from secondpass.errors import ModelError
from secondpass.processes import ForkLock
from secondpass.records import Pair
from secondpass.scoring.engine import Encoded

CACHE_BYTES = 16 * 2**20
"""Of texts and their tokens: some 15,000 passages."""
_FOREIGN_PIECES = 0.01
"""The share of a vocabulary's longer pieces that have letters beyond ASCII; 0.001 in BERT's English one."""
_CHINESE_CHARACTERS = 3_000
"""A vocabulary with more reads Chinese, character by character; BERT's English one has 246."""
_UNREADABLE_SHARE = 0.6
"""Of a text's words. It is 0.17 at most in SciFact, NFCorpus and XQuAD, 0.5 in half English texts and formulas, 0.7 in
a Russian sentence that names programs, and 1.0 in sentences of twenty languages in other scripts."""
_CHECKED_CHARACTERS = 10_000
_UNREADABLE = "is in a script that the model doesn't read"
_NEVER = "\uffff"
"""No character: what begins with it is in no text."""
_PROBES = (
    Pair("a question?", "a text"),
    Pair("Où est-ce?", "数据 [SEP] <s> text \n 12.5"),
    Pair("", "b"),
    Pair("b", ""),
    Pair("  a  b ", "\tc \n"),
)


class TokenCache:
    """The tokens of texts, without special tokens; the least recently used are forgotten. Safe across threads.

    :param tokenizer: The tokenizer, without padding and truncation.
    :param limit: The most bytes of texts and tokens that are kept.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int = CACHE_BYTES) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._lock = ForkLock()
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self.bytes = 0

    def ids(self, texts: Sequence[str]) -> list[Any]:
        """Return the token ids of each text as an array; a text that is repeated, or kept, isn't tokenised again."""
        found: dict[str, Any] = dict.fromkeys(texts)
        with self._lock:
            for text in found.keys() & self._kept.keys():
                found[text] = self._kept[text]
                self._kept.move_to_end(text)
        missing = [text for text, ids in found.items() if ids is None]
        encodings = self._tokenizer.encode_batch_fast(missing, add_special_tokens=False) if missing else []
        for text, encoding in zip(missing, encodings, strict=True):
            found[text] = np.array(encoding.ids, dtype=np.int32)
        self._keep({text: found[text] for text in missing})
        return [found[text] for text in texts]

    def _keep(self, new: dict[str, Any]) -> None:
        with self._lock:
            for text, ids in new.items():
                if text not in self._kept:
                    self._kept[text] = ids
                    self.bytes += _size(text, ids)
            while self.bytes > self._limit and self._kept:
                self.bytes -= _size(*self._kept.popitem(last=False))


@dataclass(frozen=True, slots=True)
class _Template:
    """How a tokenizer puts a pair together: special tokens, query, special tokens, text, special tokens.

    :param before: The special tokens before the query.
    :param between: Those between query and text.
    :param after: Those after the text.
    :param types: The token type of each of the five parts.
    """

    before: Any
    between: Any
    after: Any
    types: Any

    @property
    def special(self) -> int:
        """The number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def encoded(self, query: Any, text: Any, max_length: int, side: str = "right") -> Encoded:
        """Return a pair, the text truncated at one side."""
        cut = max(0, self.special + len(query) + len(text) - max_length)
        read = text[cut:] if side == "left" else text[: len(text) - cut]
        parts = (self.before, query, self.between, read, self.after)
        ids = np.concatenate(parts)
        return Encoded(len(ids), cut, {"input_ids": ids, "token_type_ids": self.types.repeat(list(map(len, parts)))})

    def truncates_text_alone(self, query: Any, max_length: int) -> bool:
        """Return whether of a long pair only the text is cut; ``longest_first`` also cuts a query that is longer."""
        return 2 * len(query) <= max_length - self.special


@dataclass(frozen=True, slots=True)
class EnglishPieces:
    """The pieces of an English WordPiece vocabulary: which words of a text it spells letter by letter, or not at all.

    Scores of such words mean nothing, and are high as often as low.

    :param continues: Whether each piece continues a word.
    :param letters: Of each piece 1 where it has a letter, 2 where it is unknown or spells another script, else 0.
    """

    continues: Any
    letters: Any

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "EnglishPieces | None":
        """Return the pieces of a tokenizer; None where its vocabulary is of another kind, or has other scripts."""
        model = tokenizer.model
        if not isinstance(model, WordPiece):
            return None
        prefix, unknown = model.continuing_subword_prefix, model.unk_token
        vocabulary = tokenizer.get_vocab()
        bare = {piece: piece.removeprefix(prefix) for piece in vocabulary}
        words = [word for word in bare.values() if len(word) > 1]
        foreign = sum(not word.isascii() and word.isalpha() for word in words)
        if foreign > _FOREIGN_PIECES * len(words):
            return None
        reads_chinese = sum(map(_is_chinese, vocabulary)) > _CHINESE_CHARACTERS
        size = max(vocabulary.values()) + 1
        continues, letters = np.zeros(size, dtype=bool), np.zeros(size, dtype=np.int8)
        for piece, at in vocabulary.items():
            word = bare[piece]
            continues[at] = word != piece
            if piece == unknown or _spells(word, continues=word != piece, reads_chinese=reads_chinese):
                letters[at] = 2
            elif word.isalpha() or any(map(str.isalpha, word)):
                letters[at] = int(len(word) > 1 or word.isascii())
        return cls(continues, letters)

    def unknown(self, ids: Any) -> bool:
        """Return whether most words of a text are unknown or spelled in another script."""
        letters, word = self.letters[ids], np.cumsum(~self.continues[ids])
        return bool(len(np.unique(word[letters == 2])) > _UNREADABLE_SHARE * len(np.unique(word[letters > 0])))


def _spells(word: str, *, continues: bool, reads_chinese: bool) -> bool:
    """Return whether a piece is one letter of a script without words in the vocabulary.

    A single letter at the beginning of a word may be a symbol, as Greek ones are in formulas, unless it has no case.
    """
    if len(word) != 1 or unicodedata.category(word)[0] not in "LM" or unicodedata.name(word, "").startswith("LATIN"):
        return False
    if _is_chinese(word):
        return not reads_chinese
    return continues or unicodedata.category(word) not in {"Ll", "Lu"}


def _is_chinese(piece: str) -> bool:
    return len(piece) == 1 and unicodedata.name(piece, "").startswith("CJK UNIFIED")


class PairTokenizer:
    """Tokenises pairs, truncated to a length: each text once, where the tokenizer puts pairs together from their parts.

    That is tried on a few pairs when it is opened. Where it isn't so, every pair is tokenised by itself.

    :param path: ``tokenizer.json``.
    :param max_length: The longest pair in tokens.
    :param side: At which side a long text is cut, ``"right"`` or ``"left"``.
    :raises ModelError: If the file isn't a tokenizer's.
    """

    def __init__(self, path: Path, max_length: int, side: str = "right") -> None:
        self.tokenizer = _open(path, None)  # the settings of both never change: other threads use them
        self._truncating = _open(path, max_length, side)
        self._max_length = max_length
        self._side = side
        self._cache = TokenCache(self.tokenizer)
        self._script = EnglishPieces.of(self.tokenizer)
        self._template = self._read_template()

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Return the tokens of each pair."""
        template = self._template
        if template is None:
            return self._whole_pairs(pairs)
        queries = dict.fromkeys(pair.query for pair in pairs)
        queries = dict(zip(queries, self._cache.ids(list(queries)), strict=True))
        unread = {query: self._unreadable(query, ids) for query, ids in queries.items()}
        texts = self._cache.ids([pair.text for pair in pairs])
        encoded = []
        for pair, text in zip(pairs, texts, strict=True):
            query, why = queries[pair.query], ""
            if unread[pair.query]:
                why = f"the query {_UNREADABLE}"
            elif self._unreadable(pair.text, text):
                why = f"the text {_UNREADABLE}"
            if template.truncates_text_alone(query, self._max_length):
                encoded.append(replace(template.encoded(query, text, self._max_length, self._side), unreadable=why))
            else:
                encoded.append(replace(self._whole_pairs([pair])[0], unreadable=why))
        return encoded

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens."""
        return [len(ids) for ids in self._cache.ids(texts)]

    def agrees_with(self, encode: Callable[[Sequence[Pair]], Sequence[Encoded]]) -> bool:
        """Return whether pairs are put together from texts, and another tokenizer gives the same for a few.

        :param encode: Tokenises pairs as ``encode`` does.
        """
        if self._template is None:
            return False
        probes = [*_PROBES, self._long_probe()]
        for own, other in zip(self.encode(probes), encode(probes), strict=True):
            common = {*own.features} & {*other.features}
            same = all(np.array_equal(own.features[name], other.features[name]) for name in common)
            if not same or own.truncated != other.truncated:
                return False
        return True

    def _long_probe(self) -> Pair:
        """Return a pair that is truncated, which shows at which side: all of its words are different."""
        return Pair("a question", " ".join(map(str, range(self._max_length))))

    def _unreadable(self, text: str, ids: Any) -> bool:
        """Return whether most of what the model reads of a text is in a script that it doesn't know."""
        if self._script is None or text.isascii():
            return False
        left = self._side == "left"
        if not self._script.unknown(ids[-self._max_length :] if left else ids[: self._max_length]):
            return False
        letters = [letter.isascii() for letter in text[:_CHECKED_CHARACTERS] if letter.isalpha()]
        return 2 * sum(letters) < len(letters)  # not unknown for its emoji, or a word of thousand letters

    def _whole_pairs(self, pairs: Sequence[Pair]) -> list[Encoded]:
        encoded = []
        for whole, pair in zip(self.tokenizer.encode_batch([tuple(pair) for pair in pairs]), pairs, strict=True):
            read = whole if len(whole.ids) <= self._max_length else self._truncating.encode(*pair)
            features = {"input_ids": np.array(read.ids), "token_type_ids": np.array(read.type_ids)}
            encoded.append(Encoded(len(read.ids), len(whole.ids) - len(read.ids), features))
        return encoded

    def _read_template(self) -> _Template | None:
        """Return the template of pairs; None where it gives other tokens than the tokenizer for any of the probes."""
        whole = self.tokenizer.encode(*_PROBES[0])
        belongs, count = whole.sequence_ids, len(whole.ids)
        if not {0, 1} <= set(belongs):
            return None
        ends = [0, *(edge for part in (0, 1) for edge in _edges(belongs, part)), count]
        if ends != sorted(ends):
            return None
        spans = [range(start, end) for start, end in pairwise(ends)]  # special, query, special, text, special
        special = [np.array([whole.ids[i] for i in span], dtype=np.int32) for span in spans[::2]]
        types = np.array([whole.type_ids[span[0]] if span else 0 for span in spans])
        template = _Template(special[0], special[1], special[2], types)
        probes = (*_PROBES, self._long_probe())
        return template if self._agrees(template, probes) else None

    def _agrees(self, template: _Template, probes: Sequence[Pair]) -> bool:
        for pair, wanted in zip(probes, self._whole_pairs(probes), strict=True):
            query, text = self._cache.ids(tuple(pair))
            got = template.encoded(query, text, self._max_length, self._side)
            same = all(np.array_equal(got.features[name], wanted.features[name]) for name in wanted.features)
            same = same and got.truncated == wanted.truncated
            if not same and template.truncates_text_alone(query, self._max_length):
                return False
        return True


def _edges(belongs: Sequence[int | None], part: int) -> tuple[int, int]:
    """Return where the tokens of query (0) or text (1) begin and end."""
    return belongs.index(part), len(belongs) - belongs[::-1].index(part)


def _size(text: str, ids: Any) -> int:
    return sys.getsizeof(text) + sys.getsizeof(ids)


def hide_special_pieces(tokenizer: Tokenizer | None) -> None:
    """Let a unigram model read the names of special tokens as characters, as sentencepiece does.

    They are pieces of its vocabulary, so that ``</s>`` in a text would be the token; templates use its id.

    :param tokenizer: Any tokenizer; others than unigram models stay as they are.
    """
    if tokenizer is None or not isinstance(tokenizer.model, Unigram):
        return
    state = json.loads(tokenizer.to_str())
    model, special = state["model"], {token["content"] for token in state["added_tokens"] if token["special"]}
    vocabulary = [(_NEVER + piece if piece in special else piece, score) for piece, score in model["vocab"]]
    tokenizer.model = Unigram(vocabulary, model["unk_id"], model.get("byte_fallback", False))


def _open(path: Path, max_length: int | None, side: str = "right") -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelError(f"{path} can't be opened as a tokenizer: {error!s:.300}") from error
    tokenizer.encode_special_tokens = True  # "[SEP]" that a user typed is text, and ends no segment
    hide_special_pieces(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_length is not None:
        tokenizer.enable_truncation(max_length, strategy="longest_first", direction=side)
    return tokenizer

"""Counting the LLM's tokens: with its own tokenizer where one is given, else with an estimate on the safe side."""

import inspect
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from string import ascii_lowercase
from typing import Any

from secondpass.errors import BudgetError, contained
from secondpass.text import well_formed


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts the tokens of a text.

    :param name: Its name in reports.
    :param exact: Whether it counts as the LLM's tokenizer does; an estimate doesn't.
    :param function: From a text without lone surrogates to its number of tokens.
    """

    name: str
    exact: bool
    function: Callable[[str], int]

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return self.function(well_formed(text))


# The estimate adds up quarters of a token, in whole numbers. A word is one token, and one more for each pair of letters
# in it that byte-pair encoding seldom joins. Each entry is a letter with those that may follow it for nothing, or for
# half a token: the solution of an integer program, least for English and code with no other text below its true count.
_FREE = """acdgijlmnprstuvwxy beijlmoprsuvy caekloqrtyz deghijpqsxyz eacdflnopqsvwx faeilostu gehsuyz haefikq
icdefglmnopsvxz j kghmnsy ldefhiopsuwy maeiopsy ncdekpstvy oacdefgimnprstuvwxyz paefhilmoqrtuy qa racdegikmnostvy
seiklmptuyz tefhlopruwy ubcdeglpqrstv vaeim wehin xchlptu ygkmpst zelmy"""
_HALF = "ab ba chi ddo emrty ffr hoy irt jo ll ng pp rru schos tit um walo xix"
_WORDS = re.compile(r"[A-Za-z]+")
_CAPITALS = re.compile(r"[A-Z]{4}")
_ASCII = (
    (re.compile(r"[!-@[-`{-~\x00-\x1f\x7f]"), 4),  # each digit, mark, line break and control character
    (re.compile(r" (?![ !-/:-~])"), 4),  # a blank is free before a letter, a mark and a blank
    (re.compile(r"(?<! )  "), 4),  # a run of blanks, and each sixteen in it
    (re.compile(r" {16}"), 4),
)
# What isn't ASCII counts a token for each UTF-8 byte, which byte-level vocabularies don't exceed, but for these.
_SCRIPTS = {
    "\u0401\u0410-\u044f\u0451": 5,  # Cyrillic
    "\u0621-\u0652\u067e\u0686\u06a9\u06af\u06cc\u1ea0-\u1ef9": 6,  # Arabic, Vietnamese
    "\u0e01-\u0e5b\u3041-\u30ff": 7,  # Thai, kana
    "\u2013\u2014\u2018-\u201d\u2022\u2026": 8,  # dashes, quotation marks
    "\u0900-\u0aff\u0b80-\u0dff\u1780-\u17ff": 9,  # Devanagari and its relatives but Oriya, Khmer
    "\u4e00-\u9fff": 10,  # Chinese characters
}
_WIDE = tuple((re.compile(f"[{characters}]+"), quarters) for characters, quarters in _SCRIPTS.items())
_BYTES = re.compile(f"[^\\x00-\\x7f{''.join(_SCRIPTS)}]+")


def _pair_costs() -> dict[str, int]:
    """Return the quarters that a letter costs after another one; a capital starts a word after a small letter."""
    free, half = ({entry[0]: entry[1:] for entry in entries.split()} for entries in (_FREE, _HALF))
    costs: dict[str, int] = {}
    for first, second in product(ascii_lowercase, repeat=2):
        cost = 0 if second in free[first] else 2 if second in half.get(first, "") else 4
        costs |= dict.fromkeys((first + second, first.upper() + second, (first + second).upper()), cost)
        costs[first + second.upper()] = 6
    return costs


_PAIRS = _pair_costs()


def estimate_tokens(text: str) -> int:
    """Estimate tokens without a tokenizer, on the safe side of seven of them on every kind of text.

    It is about 1.5 times the true count on English prose and on code, and more on other text; `docs/architecture.md`
    has the table. A longer text never has a lower estimate, and a joined one at most four more than its parts.
    """
    words = _WORDS.findall(text)
    quarters = sum(_cached_quarters(word) if len(word) <= _LONGEST_CACHED else _word_quarters(word) for word in words)
    quarters += sum(cost * len(pattern.findall(text)) for pattern, cost in _ASCII)
    if not text.isascii():
        quarters += sum(cost * len("".join(pattern.findall(text))) for pattern, cost in _WIDE)
        quarters += 4 * len("".join(_BYTES.findall(text)).encode())
    return -(-quarters // 4)


def _word_quarters(word: str) -> int:
    pairs = sum(map(_PAIRS.__getitem__, map(operator.add, word, word[1:])))
    return 4 + pairs + 8 * (len(word) // 12) + 2 * len(_CAPITALS.findall(word))


_cached_quarters = lru_cache(2**14)(_word_quarters)
_LONGEST_CACHED = 24  # letters, so that the cache stays small


ESTIMATE = TokenCounter("estimate", exact=False, function=estimate_tokens)


def as_counter(counter: object) -> TokenCounter:
    """Return a counter for a tokenizer, a callable or None.

    Takes a tiktoken encoding, a Hugging Face tokenizer (transformers' or tokenizers'; a copy is used, so that
    padding and truncation set on yours neither count nor change), or any callable from a text to a number or to a
    list of tokens (LlamaIndex's tokenizer, ``llm.get_num_tokens``). Tokenizers are exact; a callable may only guess,
    and is exact where it has an attribute ``exact`` that is True, or is given as ``TokenCounter(name, exact=True,
    function=...)``. None gives the estimate.

    :raises BudgetError: If it is none of these.
    """
    if counter is None:
        return ESTIMATE
    if isinstance(counter, TokenCounter):
        return counter
    if getattr(counter, "__name__", "").startswith("encode") and inspect.ismethod(counter):
        counter = counter.__self__  # tiktoken's own raises for a text with a special token's name, others add tokens
    name = str(getattr(counter, "name", None) or getattr(counter, "__name__", None) or type(counter).__name__)
    if hasattr(counter, "encode_ordinary"):
        return TokenCounter(f"tiktoken {name}", exact=True, function=partial(_length, counter.encode_ordinary))
    if hasattr(counter, "no_truncation") and hasattr(counter, "to_str"):
        return TokenCounter("tokenizers", exact=True, function=_tokenizers_count(counter))
    if hasattr(counter, "convert_ids_to_tokens") and hasattr(counter, "encode"):
        return _transformers_counter(counter)
    if callable(counter):
        exact = getattr(counter, "exact", False) is True
        return TokenCounter(name, exact=exact, function=partial(_length, counter))
    raise BudgetError(
        "a token counter must be a tiktoken encoding, a Hugging Face tokenizer, or a callable from text to tokens; "
        f"got {type(counter).__name__}"
    )


def _length(function: Callable[[str], Any], text: str) -> int:
    tokens = function(text)
    if type(tokens) is int and tokens >= 0:
        return tokens  # the usual case: the checks below take longer than a fast counter
    with suppress(TypeError):  # a number of another library, before its length: an array may have none
        if operator.index(tokens) >= 0:
            return operator.index(tokens)
    with suppress(TypeError):
        if not isinstance(tokens, Mapping | str):  # a mapping's length counts its keys
            return len(tokens)
    raise BudgetError(f"a token counter must return a number of tokens, or the tokens, got {tokens!r:.80}")


def _tokenizers_count(tokenizer: Any) -> Callable[[str], int]:
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return partial(_ids, copy)


def _ids(tokenizer: Any, text: str) -> int:
    def count(texts: Sequence[str]) -> list[int]:
        return [len(tokenizer.encode(each, add_special_tokens=False).ids) for each in texts]

    return contained(count, [text], estimate_tokens)[0]


def _untruncated_ids(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False, truncation=False))


def _transformers_counter(tokenizer: Any) -> TokenCounter:
    name = f"transformers {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__}"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return TokenCounter(name, exact=True, function=_tokenizers_count(backend))
    return TokenCounter(name, exact=True, function=partial(_untruncated_ids, tokenizer))

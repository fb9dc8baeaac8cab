"""Counting the LLM's tokens: with its own tokenizer where one is given, else with an estimate on the safe side."""

import operator
import re
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, SupportsIndex

from secondpass.errors import BudgetError
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


_RUNS = re.compile(r"[A-Za-z0-9]+| {2,}|[^\S ]|[^\x00-\x7f]+|[^\s]")  # all but single blanks, which take no token
_WORDS = re.compile(r"[A-Z]*[a-z]*")
_UNIT = 60  # the estimate adds up sixtieths of a token, in whole numbers


def estimate_tokens(text: str) -> int:
    """Estimate tokens without a tokenizer, on the high side for natural language and for code.

    A word counts one token for each four letters begun (each three in words of more than seven letters, each two in
    capitals), a number one for each digit and one more, a punctuation mark and a line break one each, a string of
    letters and digits 0.85 a character, and what isn't ASCII two thirds of a token for each UTF-8 byte. That is about
    1.5 times the true count on English prose and on code; rare characters picked at random were seen to come out up
    to a fifth low. `docs/architecture.md` has the table, against cl100k, o200k and BERT's word pieces.
    """
    return -(-sum(map(_run_units, _RUNS.findall(text))) // _UNIT)


def _run_units(run: str) -> int:
    if not run.isascii():
        return len(run.encode()) * 2 * _UNIT // 3
    if run.isalpha():
        return _UNIT * (_word_tokens(run) if run.islower() else sum(map(_word_tokens, _WORDS.findall(run))))
    if not run.isalnum():
        return _UNIT
    return (len(run) + 1) * _UNIT if run.isdigit() else len(run) * _UNIT * 85 // 100


def _word_tokens(word: str) -> int:
    if len(word) > 1 and word.isupper():
        return -(-len(word) // 2)
    return -(-len(word) // (3 if len(word) > 7 else 4))


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
    if isinstance(tokens, Sized) and not isinstance(tokens, Mapping | str):  # a mapping's length counts its keys
        return len(tokens)
    if isinstance(tokens, SupportsIndex) and not isinstance(tokens, str) and operator.index(tokens) >= 0:
        return operator.index(tokens)
    raise BudgetError(f"a token counter must return a number of tokens, or the tokens, got {tokens!r:.80}")


def _tokenizers_count(tokenizer: Any) -> Callable[[str], int]:
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return partial(_ids, copy)


def _ids(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def _untruncated_ids(tokenizer: Any, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False, truncation=False))


def _transformers_counter(tokenizer: Any) -> TokenCounter:
    name = f"transformers {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__}"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return TokenCounter(name, exact=True, function=_tokenizers_count(backend))
    return TokenCounter(name, exact=True, function=partial(_untruncated_ids, tokenizer))

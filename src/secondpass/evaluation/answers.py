"""Whether a text holds an answer, by the rules of SQuAD's evaluation."""

import re
import string
from collections.abc import Callable, Sequence
from functools import cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SIGN = f"[{re.escape(string.punctuation)}]"
_BETWEEN_WORDS = re.compile(rf"(?<![0-9]){_SIGN}|{_SIGN}(?![0-9])")  # not within a number: 1.5 stays one


def normalise(text: str) -> str:
    """Return the text in lower case, without ASCII punctuation and English articles, blanks made one.

    It is the normalisation of SQuAD's official script: Rajpurkar et al., EMNLP 2016.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def holds_any(answers: Sequence[str]) -> Callable[[str], bool]:
    """Return a test whether a text holds one of the answers; it remembers the texts that it has seen.

    Both are normalised, and the answer must stand in the text as a whole: not within a longer run of ASCII letters
    and digits, so that ``5`` isn't found in ``15``, while scripts without blanks work. Unlike in SQuAD's script, where
    whole strings are compared, signs between words may part them too: "Darwin" is in "Darwin's". An answer of which
    nothing is left, such as an article or a sign, is looked for as it stands.
    """
    found = [_test(answer) for answer in answers if answer.strip()]

    @cache
    def holds(text: str) -> bool:
        forms = _forms(text)
        return any(test(text, forms) for test in found)

    return holds


def _forms(text: str) -> frozenset[str]:
    """Return the text normalised, its signs gone and its signs as blanks."""
    return frozenset({normalise(text), normalise(_BETWEEN_WORDS.sub(" ", text))})


def _test(answer: str) -> Callable[[str, frozenset[str]], bool]:
    normal = normalise(answer)
    if not normal:
        return lambda text, _: answer.strip().lower() in text.lower()
    pattern = re.compile(rf"(?<![a-z0-9]){re.escape(normal)}(?![a-z0-9])")
    return lambda _, forms: any(map(pattern.search, forms))

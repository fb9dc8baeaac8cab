"""Whether a text holds an answer, by the rules of SQuAD's evaluation."""

import re
import string
from collections.abc import Callable, Sequence
from functools import cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return the text in lower case, without ASCII punctuation and English articles, blanks made one.

    It is the normalisation of SQuAD's official script: Rajpurkar et al., EMNLP 2016.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def holds_any(answers: Sequence[str]) -> Callable[[str], bool]:
    """Return a test whether a text holds one of the answers; it remembers the texts that it has seen.

    Both are normalised, and the answer must stand in the text as a whole: not within a longer run of ASCII letters
    and digits, so that ``5`` isn't found in ``15``, while scripts without blanks work. An answer of which nothing is
    left, such as an article or a sign, is looked for as it stands.
    """
    found = [_test(answer) for answer in answers if answer.strip()]

    @cache
    def holds(text: str) -> bool:
        normal = normalise(text)
        return any(test(text, normal) for test in found)

    return holds


def _test(answer: str) -> Callable[[str, str], bool]:
    normal = normalise(answer)
    if not normal:
        return lambda text, _: answer.strip().lower() in text.lower()
    pattern = re.compile(rf"(?<![a-z0-9]){re.escape(normal)}(?![a-z0-9])")
    return lambda _, normalised: pattern.search(normalised) is not None

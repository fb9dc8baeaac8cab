"""What the query templates know about English: stop words, word classes, and how rare each word is."""

import math
import re
from collections import Counter
from collections.abc import Iterable

from recipes.corpus.passages import words
from recipes.corpus.wordnet import WordNet

_STOP_WORDS = """
a about above after again against all also am an and any are as at be because been before being below between both
but by can could did do does doing down during each few for from further had has have having he her here hers him
his how i if in into is it its itself just may me might more most must my no nor not now of off on once only or
other our out over own per same shall she should so some such than that the their them then there these they this
those through to too under until up upon us use used using very was we were what when where which while who whom why
will with within without would you your yours however thus therefore e.g i.e etc one two many much even often
usually generally especially include includes including called known like well although though since whether either
neither yet still first second make makes made way several various see example instance sometimes
"""
STOP = frozenset(_STOP_WORDS.split())


class Lexicon:
    """Word classes from WordNet, and rarity from the passages."""

    def __init__(self, net: WordNet, texts: Iterable[str]) -> None:
        self._net = net
        self._documents: Counter[str] = Counter()
        self._count = 0
        for text in texts:
            self._documents.update({word.lower() for word in words(text)})
            self._count += 1

    def rarity(self, word: str) -> float:
        """Return a word's inverse document frequency."""
        return math.log((self._count + 1) / (self._documents[word.lower()] + 0.5))

    def telling(self, word: str) -> bool:
        """Say whether a word may stand in a keyword query: no stop word, and in the dictionary or at least a name."""
        if word.lower() in STOP or len(word) < 3:
            return False
        return self.noun(word) or self.adjective(word) or self.verb(word) or (word[0].isupper() and word[1:].islower())

    def noun(self, word: str) -> bool:
        """Say whether a word, or its singular, can be a noun."""
        return any(self._net.known(form, "n") for form in singulars(word.lower()))

    def adjective(self, word: str) -> bool:
        """Say whether a word can be an adjective."""
        return self._net.known(word.lower(), "a")

    def verb(self, word: str) -> bool:
        """Say whether a word can be a verb in its base form."""
        return self._net.known(word.lower(), "v")

    def base_verb(self, gerund: str) -> str:
        """Return the verb of a word in -ing, or nothing where there is none."""
        stem = gerund.lower().removesuffix("ing")
        doubled = stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "ls" else stem
        return next((form for form in (doubled, stem, f"{stem}e") if len(form) > 1 and self.verb(form)), "")

    def phrases(self, sentence: str) -> list[str]:
        """Return the noun phrases of a sentence: nouns with the nouns and adjectives before them, of 2 to 4 words."""
        found: list[str] = []
        for run in re.split(r"[^\w\s'’-]+", sentence):
            held: list[str] = []
            for word in [*run.split(), ""]:
                fits = (
                    word and word.lower() not in STOP and (self.noun(word) or self.adjective(word) or word[0].isupper())
                )
                if fits:
                    held.append(word)
                    continue
                if 2 <= len(held) <= 4 and (self.noun(held[-1]) or held[-1][0].isupper()):
                    found.append(" ".join(held))
                held = []
        return found


def singulars(word: str) -> tuple[str, ...]:
    """Return a word and what it may be the plural of."""
    forms = [word]
    if word.endswith("ies"):
        forms.append(f"{word[:-3]}y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word[:-1])
    return tuple(forms)


def plural(noun: str) -> str:
    """Return the regular plural of a noun."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search(r"(?:s|x|z|ch|sh)$", noun) else f"{noun}s"


def article(noun: str) -> str:
    """Return the indefinite article that goes before a noun."""
    return "an" if noun[:1].lower() in "aeio" else "a"

"""Queries that a definition answers: asked by the word, by what is known of it, or by the meaning alone."""

import random
import re

from recipes.corpus.lexicon import STOP, Lexicon, article, plural
from recipes.corpus.passages import words
from recipes.corpus.records import Passage

_BY_WORD = (
    "what is {x}",
    "what is {x}",
    "what is {a} {x}",
    "what is {a} {x}",
    "define {x}",
    "{x} definition",
    "{x} meaning",
    "what does {x} mean",
    "{x}",
    "meaning of {x}",
    "definition of {x}",
    "definition of {a} {x}",
    "what is the meaning of {x}",
    "{x} explained",
    "what are {xs}",
    "what is meant by {x}",
    "how would you define {x}",
    "what's {a} {x}",
    "{x} facts",
    "explain {x}",
    "what is the definition of {x}",
    "{x} vs {s}",
    "difference between {x} and {s}",
    "is {a} {x} {t} {s}",
    "types of {xs}",
    "examples of {xs}",
    "what is another word for {x}",
)
_BY_FIELD: dict[str, tuple[str, ...]] = {
    "animal": (
        "where do {xs} live",
        "what do {xs} eat",
        "what kind of animal is {a} {x}",
        "how big is {a} {x}",
        "{x} habitat",
        "how long do {xs} live",
    ),
    "plant": (
        "what kind of plant is {x}",
        "where does {x} grow",
        "what does {x} look like",
        "is {x} edible",
        "{x} plant",
        "how tall does {x} grow",
    ),
    "food": ("what is {x} made of", "how is {x} made", "what does {x} taste like", "{x} ingredients", "is {x} healthy"),
    "person": (
        "who was {x}",
        "who is {x}",
        "what does {a} {x} do",
        "{x} biography",
        "when was {x} born",
        "what is {x} known for",
        "{x} job description",
    ),
    "location": (
        "where is {x}",
        "where is {x} located",
        "what country is {x} in",
        "{x} geography",
        "what is {x} known for",
        "map of {x}",
    ),
    "state": (
        "what causes {x}",
        "symptoms of {x}",
        "{x} causes and symptoms",
        "how is {x} treated",
        "is {x} dangerous",
        "signs of {x}",
        "what is {x} caused by",
    ),
    "body": (
        "where is the {x}",
        "function of the {x}",
        "what does the {x} do",
        "{x} anatomy",
        "what is the {x} part of",
    ),
    "artifact": (
        "what is {a} {x} used for",
        "how does {a} {x} work",
        "who invented the {x}",
        "{x} uses",
        "parts of {a} {x}",
        "what does {a} {x} look like",
    ),
    "substance": (
        "what is {x} used for",
        "what is {x} made of",
        "chemical properties of {x}",
        "is {x} toxic",
        "{x} uses",
        "where is {x} found",
    ),
    "event": ("when was the {x}", "what happened in the {x}", "what causes {x}", "who won the {x}"),
    "group": ("who are the {x}", "what is the purpose of {x}", "members of {x}", "history of {x}"),
    "phenomenon": ("what causes {x}", "how does {x} work", "why does {x} happen"),
    "process": ("how does {x} work", "stages of {x}", "what happens during {x}", "steps of {x}"),
    "act": ("what does {x} involve", "how to do {x}", "purpose of {x}", "{x} examples"),
    "time": ("when is {x}", "how long is {a} {x}", "when does {x} start"),
    "possession": ("how does {x} work", "how to calculate {x}", "what is {x} in finance"),
    "object": ("where is {x}", "how is {a} {x} formed", "where are {xs} found"),
}
_MEANING = (
    "what do you call {g}",
    "word for {g}",
    "{g}",
    "what is {g} called",
    "term for {g}",
    "name for {g}",
    "{k}",
    "{k}",
    "{k}",
)


_DOING = ("what does it mean {g}", "{g}", "verb {g}", "{k}", "{k}")
"""For a verb, whose meaning begins with ``to``."""


def from_definition(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    """Return a query that a definition answers, or something near it."""
    style = rng.random()
    if style < 0.42 or not passage.gloss:
        return _filled(rng.choice(_BY_WORD), passage, rng)
    if style < 0.62 and passage.field in _BY_FIELD:
        return _filled(rng.choice(_BY_FIELD[passage.field]), passage, rng)
    template = rng.choice(_DOING if passage.gloss.lower().startswith("to ") else _MEANING)
    if "{k}" in template:
        return _keywords(passage, lexicon, rng)
    beginning = _beginning(passage.gloss, rng)
    return template.format(g=beginning) if len(beginning.split()) > 1 else _keywords(passage, lexicon, rng)


def _filled(template: str, passage: Passage, rng: random.Random) -> str:
    word = re.sub(r"\s*\([^)]*\)", "", passage.title)
    if "{s}" in template and not passage.siblings:
        template = "what is {x}"
    other = rng.choice(passage.siblings or ("",))
    proper = word[:1].isupper() and passage.field in ("person", "location")
    text = template.format(
        x=word, xs=word if proper else plural(word), a="" if proper else article(word), s=other, t=article(other)
    )
    return re.sub(r"\s+", " ", text)


def _beginning(gloss: str, rng: random.Random) -> str:
    clause = re.split(r"[;:,(]|\bthat is\b", re.sub(r"^(?:\d\. ?|\([a-z]\) ?)+", "", gloss))[0].split()
    cut = clause[: rng.randint(6, 12)]
    while len(cut) > 2 and cut[-1].lower() in STOP:
        cut.pop()
    return " ".join(cut)


def _keywords(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    title = {word.lower() for word in words(passage.title)}
    told = [word for word in words(passage.gloss) if lexicon.telling(word) and word.lower() not in title]
    count = rng.randint(2, 5)
    rarest = sorted(set(told), key=lambda word: (-lexicon.rarity(word), word))[:count]
    return " ".join(dict.fromkeys(word for word in told if word in rarest)) or passage.title

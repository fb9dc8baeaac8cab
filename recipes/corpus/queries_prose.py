"""Queries that running prose answers: out of its heading, its nouns, its rare words, or a fact in a sentence."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from recipes.corpus.facts import FACTS
from recipes.corpus.lexicon import STOP, Lexicon
from recipes.corpus.passages import sentences, words
from recipes.corpus.records import Passage

_LONGEST_HEADING = 9  # words
_ASKING = frozenset(("how", "what", "why", "who", "when", "where", "is", "are", "does"))
_HOW = ("how to {v} {r}", "how do you {v} {r}", "how do i {v} {r}")
_ABOUT = ("what is {h}", "{h}", "{h} meaning", "what does {h} mean", "{h} {t}", "{t} {h}", "explain {h}")
_OF_A_PHRASE = (
    "what is {x}",
    "what are {x}",
    "define {x}",
    "{x} meaning",
    "how does {x} work",
    "why is {x} important",
)
_LABELS = re.compile(
    r"\b(?:(?:BACKGROUND|OBJECTIVES?|METHODS?|RESULTS?|CONCLUSIONS?|FINDINGS|INTERPRETATION|INTRODUCTION|AIMS?|PURPOSE|"
    r"DESIGN|SETTING|PARTICIPANTS|PATIENTS|MEASUREMENTS|CONTEXT|MAIN OUTCOMES? MEASURES?|MOTIVATION|AVAILABILITY|"
    r"MATERIALS?|RATIONALE|SIGNIFICANCE|IMPORTANCE)(?: AND)?[: ]+)+(?=[A-Z\d])"
)
"""What stands before the parts of an abstract, such as BACKGROUND, or MATERIALS AND METHODS."""
_TRIES = 6
_RARE_ENOUGH = 6.0  # beyond this rarity a word is no more wanted in a query: it may be a slip or a file's name
_VAGUE = """
introduction overview summary note notes description see example examples references usage conclusion background
synopsis name history option options methods results details more
"""
_GENERIC = frozenset(_VAGUE.split())


def from_prose(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    """Return a query that a passage of prose answers, or something near it."""
    makers: dict[Callable[[Passage, Lexicon, random.Random], str], float] = {
        _fact: 0.50,
        _heading: 0.16,
        _phrase: 0.14,
        _keywords: 0.10,
        _shortened: 0.10,
    }
    for maker in rng.choices(list(makers), list(makers.values()), k=_TRIES):
        query = maker(passage, lexicon, rng)
        if _useful(query, lexicon):
            return query
    return _keywords(passage, lexicon, rng)


def from_abstract(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    """Return a query for a scientific abstract: its title, often shortened, or what its prose gives."""
    if rng.random() < 0.7 or not passage.title:
        return from_prose(replace(passage, text=_LABELS.sub("", passage.text)), lexicon, rng)
    title = re.split(r"[:.?]", passage.title)[0].split()
    kept = title if rng.random() < 0.4 else title[: rng.randint(4, 8)]
    return _trimmed(" ".join(kept))


def _useful(query: str, lexicon: Lexicon) -> bool:
    content = [word for word in words(query) if word.lower() not in STOP]
    vague = re.search(
        r"\b(?:this|these|those|it|they|he|she|we|such|our|their|its|his|her|which|i|there|that)\b", query.lower()
    )
    asked = query.lower().startswith(("how do i", "how can i"))
    rare = content and max(map(lexicon.rarity, content)) > 3.2
    return bool(rare) and len(query.split()) <= 14 and (asked or not vague) and len(query) > 3


def _heading(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    heading = passage.title
    plain = words(heading)
    if not 1 <= len(plain) <= _LONGEST_HEADING or plain[0].lower() in _GENERIC:
        return ""
    first = plain[0].lower()
    if first in _ASKING or heading.endswith("?"):
        return heading
    if first.endswith("ing") and len(plain) > 1 and (verb := lexicon.base_verb(first)):
        return rng.choice(_HOW).format(v=verb, r=heading.split(maxsplit=1)[1])
    if len(plain) <= 3 and lexicon.noun(plain[-1]):
        topic = passage.topic if len(passage.topic.split()) < 4 and passage.topic != heading else ""
        return rng.choice(_ABOUT).format(h=heading, t=topic)
    return heading


def _phrase(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    found = [phrase for sentence in sentences(passage.text) for phrase in lexicon.phrases(sentence)]
    if not found:
        return ""
    first, other = rng.choice(found), rng.choice(found)
    style = rng.random()
    if style < 0.4 or first == other:
        return first
    return rng.choice(_OF_A_PHRASE).format(x=first) if style < 0.65 else f"{first} {other}"


def _keywords(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    pieces = sentences(passage.text)
    pieces = pieces if rng.random() < 0.3 else [rng.choice(pieces)]
    told = [word for piece in pieces for word in words(piece) if lexicon.telling(word)]
    count = rng.randint(2, 5)
    scored = {word: min(lexicon.rarity(word), _RARE_ENOUGH) * rng.uniform(0.5, 1.0) for word in sorted(set(told))}
    chosen = set(sorted(scored, key=lambda word: -scored[word])[:count])
    return " ".join(dict.fromkeys(word for word in told if word in chosen))


def _shortened(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:  # noqa: ARG001 - one of the makers
    sentence = rng.choice(sentences(passage.text)[:3])
    clause = max(re.split(r"[,;:()\"“”]| - | -- ", sentence), key=len).split()
    if len(clause) > 10:
        start = rng.randint(0, min(4, len(clause) - 8))
        clause = clause[start : start + rng.randint(5, 9)]
    kept = [word for word in clause if word.lower() not in ("the", "a", "an", "that") or rng.random() < 0.5]
    return _trimmed(" ".join(kept))


def _fact(passage: Passage, lexicon: Lexicon, rng: random.Random) -> str:
    found = list(_facts(passage, lexicon))
    if not found:
        return ""
    templates, groups = rng.choice(found)
    return rng.choice(templates).format(**groups)


def _facts(passage: Passage, lexicon: Lexicon) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    for sentence in sentences(passage.text):
        for pattern, templates in FACTS:
            match = pattern.search(sentence)
            groups = {name: _trimmed(value) for name, value in match.groupdict().items() if value} if match else {}
            usable = tuple(template for template in templates if _fillable(template, groups))
            if usable and _useful(groups.get("x", "") or groups.get("v", "") or groups.get("k", ""), lexicon):
                yield usable, groups


def _fillable(template: str, groups: dict[str, str]) -> bool:
    return all(groups.get(name) for name in re.findall(r"\{(\w+)\}", template))


def _trimmed(text: str) -> str:
    """Cut stop words off the end, where a phrase was cut in its middle; articles off its start."""
    parts = text.split()
    while parts and parts[-1].lower().strip(",.;") in STOP:
        parts.pop()
    while parts and parts[0].lower() in ("and", "or", "but", "of", "to", "that", "a", "an"):
        parts.pop(0)
    return " ".join(parts)

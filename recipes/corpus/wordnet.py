"""WordNet's nouns, verbs and adjectives, and definitions in sentences made from them and their neighbours."""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FIELDS = {
    4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication", 11: "event",
    12: "feeling", 13: "food", 14: "group", 15: "location", 17: "object", 18: "person", 19: "phenomenon", 20: "plant",
    21: "possession", 22: "process", 24: "relation", 26: "state", 27: "substance", 28: "time",
}  # fmt: skip
_PARTS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}


@dataclass(frozen=True, slots=True)
class Synset:
    """A meaning, and the words that have it."""

    id: str
    part: str
    field: str
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    pointers: tuple[tuple[str, str], ...]

    def towards(self, *symbols: str) -> list[str]:
        """Return the ids that these kinds of pointer lead to."""
        return [target for symbol, target in self.pointers if symbol in symbols]


@dataclass(frozen=True, slots=True)
class Definition:
    """A passage about a word."""

    word: str
    gloss: str
    text: str
    field: str
    siblings: tuple[str, ...]


class WordNet:
    """The synsets by id, and each word's synsets with the commonest first."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.synsets: dict[str, Synset] = {}
        self.senses: dict[tuple[str, str], list[str]] = {}
        self.common: set[tuple[str, str]] = set()
        for part, letter in (("noun", "n"), ("verb", "v"), ("adj", "a")):
            self._read_data(files[f"data.{part}"], letter)
            self._read_index(files[f"index.{part}"], letter)

    def _read_data(self, content: str, letter: str) -> None:
        for line in content.splitlines():
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition(" | ")
            columns = head.split()
            count = int(columns[3], 16)
            after = 4 + 2 * count
            names = tuple(re.sub(r"\(\w+\)$", "", name).replace("_", " ") for name in columns[4:after:2])
            pointers = columns[after + 1 : after + 1 + 4 * int(columns[after])]
            links = tuple((pointers[i], f"{pointers[i + 2]}{pointers[i + 1]}") for i in range(0, len(pointers), 4))
            meaning, examples = _parts_of(gloss)
            field = _FIELDS.get(int(columns[1]), "") if letter == "n" else ""
            self.synsets[letter + columns[0]] = Synset(
                letter + columns[0], _PARTS[columns[2]], field, names, meaning, examples, links
            )

    def _read_index(self, content: str, letter: str) -> None:
        for line in content.splitlines():
            if line.startswith("  "):
                continue
            columns = line.split()
            count = int(columns[2])
            self.senses[columns[0], letter] = [letter + offset for offset in columns[-count:]]
            if int(columns[-count - 1]):
                self.common.add((columns[0], letter))

    def known(self, word: str, letter: str) -> bool:
        """Say whether a word, in lower case, can be a noun (``n``), verb (``v``) or adjective (``a``)."""
        return (word.replace(" ", "_"), letter) in self.senses

    def is_common(self, noun: str) -> bool:
        """Say whether a noun occurs in the texts that WordNet counted words in."""
        return (noun.lower().replace(" ", "_"), "n") in self.common

    def definitions(self, rng: random.Random) -> Iterator[Definition]:
        """Yield one passage for each noun synset that has enough to say, in a drawn order."""
        order = [synset for synset in self.synsets.values() if synset.id.startswith("n")]
        rng.shuffle(order)
        for synset in order:
            yield self.definition(synset, rng)

    def definition(self, synset: Synset, rng: random.Random) -> Definition:
        """Describe a meaning in sentences: the gloss, other names, what it is a kind of, its kinds and its parts."""
        word = synset.words[0]
        above = [self.synsets[target] for target in synset.towards("@", "@i")]
        sentences = [_opening(word, synset, above, rng)]
        if len(synset.words) > 1:
            sentences.append(
                f"{rng.choice(('Also called', 'Other names for it are', 'Synonyms:'))} {_listed(synset.words[1:])}."
            )
        sentences += [_sentence(example) for example in synset.examples[:2]]
        if above and above[0].gloss:
            name = above[0].words[0]
            sentences.append(f"{_article(name).capitalize()} {name} is {above[0].gloss}.")
        sentences += self._neighbours(word, synset)
        siblings = tuple(self._siblings(synset, above))
        return Definition(word, synset.gloss, " ".join(sentences), synset.field, siblings)

    def _neighbours(self, word: str, synset: Synset) -> Iterator[str]:
        kinds = [self.synsets[target] for target in synset.towards("~", "~i")]
        if kinds:
            yield f"Kinds of {word} include {_listed([kind.words[0] for kind in kinds[:6]])}."
            if kinds[0].gloss:
                yield _sentence(f"{kinds[0].words[0]}: {kinds[0].gloss}")
        for symbols, phrase in (
            (("%p", "%s"), "It has as its parts"),
            (("#p",), "It is a part of"),
            (("#m",), "It belongs to"),
        ):
            if found := [self.synsets[target].words[0] for target in synset.towards(*symbols)]:
                yield f"{phrase} {_listed(found[:6])}."

    def _siblings(self, synset: Synset, above: list[Synset]) -> Iterator[str]:
        for parent in above[:1]:
            for target in parent.towards("~", "~i")[:40]:
                if target != synset.id:
                    yield self.synsets[target].words[0]


def _parts_of(gloss: str) -> tuple[str, tuple[str, ...]]:
    examples = tuple(re.findall(r'"([^"]{12,})"', gloss))
    meaning = re.sub(r';?\s*"[^"]*"(?:\s*-[^;"]*)?', "", gloss)
    return meaning.strip(" ;"), examples


def _opening(word: str, synset: Synset, above: list[Synset], rng: random.Random) -> str:
    kind = above[0].words[0] if above else "thing"
    style = rng.randrange(4)
    if style == 0:
        return f"{word} ({synset.part}): {synset.gloss}."
    if style == 1 and not word[0].isupper():
        return f"{_capital(word)} is {_article(kind)} {kind}: {synset.gloss}."
    if style == 2:
        return f"{_capital(word)}: {synset.gloss}. It is a kind of {kind}."
    return f"The definition of {word} is: {synset.gloss}."


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: str) -> str:
    text = _capital(text.strip())
    return text if text.endswith((".", "!", "?")) else f"{text}."

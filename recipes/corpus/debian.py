"""Passages out of Debian's packages, source by source."""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from recipes.corpus import catalogue, dictionaries, games
from recipes.corpus.markup import sections
from recipes.corpus.packages import Deb
from recipes.corpus.passages import LONGEST, SHORTEST, cut, is_prose, sentences
from recipes.corpus.records import Kind, Passage, seeded
from recipes.corpus.wordnet import Definition, WordNet

_TITLED = 0.15  # of the passages begin with their heading, as some pages' snippets do
_NAMED = 0.5  # of the descriptions begin with the name of the thing
_RARE_WORDS = 0.35  # of WordNet's rarer words are taken, all of the common ones
_LONGEST_TITLE = 9  # words
_SHORT_DEFINITION = 26  # words
_LONG_DEFINITION = 90  # words above which only the beginning is taken
_FEWEST_OF_A_PAGE = 6
_PAGES_AT_LEAST = 12  # over which a source's passages are spread, if it has that many
_SIBLINGS = 20


def pages(source: catalogue.Pages, deb: Deb, seed: int) -> Iterator[Passage]:
    """Yield passages from a package's pages, in a drawn order of pages, up to the source's cap."""
    skip = re.compile(source.skip)
    files = sorted((path, content) for path, content in deb.members(source.pattern) if not skip.search(path))
    rng = seeded(seed, source.name)
    rng.shuffle(files)
    most = max(_FEWEST_OF_A_PAGE, source.most // max(1, min(len(files), _PAGES_AT_LEAST)))
    yield from islice(_sampled(source.name, files, most, seed), source.most)


def _sampled(source: str, files: Iterable[tuple[str, bytes]], most: int, seed: int) -> Iterator[Passage]:
    """Yield what the pages give, but no more than a number of passages of each."""
    for path, content in files:
        rng = seeded(seed, path)
        found = list(_page(source, content, rng))
        yield from found if len(found) <= most else rng.sample(found, most)


_VAGUE = frozenset(
    ("rules", "goal", "strategy", "description", "overview", "introduction", "notes", "options", "usage", "intro")
)
"""Headings that say nothing without the title of their page."""
_APPARATUS = re.compile(
    r"^(?:authors?|credits|references?|external links|licen[cs]es?|bibliography|acknowledge?ments?|contributors?|"
    r"see also|sources|further reading|about the author|copyright|colophon|contact)\b|licen[cs]e$|bibliography$",
    re.IGNORECASE,
)


def _page(source: str, content: bytes, rng: random.Random) -> Iterator[Passage]:
    for section in sections(content.decode("utf-8", "replace")):
        title = section.topic if section.heading.lower() in _VAGUE or not section.heading else section.heading
        if _APPARATUS.search(section.heading):
            continue
        for text in cut(section.paragraphs, rng):
            titled = title and rng.random() < _TITLED and len(title.split()) <= _LONGEST_TITLE
            if is_prose(text):
                whole = f"{title}{'' if title[-1] in '?!' else '.'} {text}" if titled else text
                yield Passage(source, whole, title=title, topic=section.topic)


def dictionary(source: catalogue.Words, deb: Deb, seed: int) -> Iterator[Passage]:
    """Yield passages from a dictionary, in a drawn order, up to its cap."""
    reader: Callable[[str], str] = getattr(dictionaries, source.reader)
    files = {path.rsplit(".", 1)[-1]: content for path, content in deb.members(r"/dictd/.*\.(?:index|dz)$")}
    found = list(dictionaries.entries(files["index"], files["dz"]))
    rng = seeded(seed, source.package)
    rng.shuffle(found)
    passages = (_entry(source.package, entry, reader, rng) for entry in found)
    yield from islice((passage for passage in passages if passage), source.most)


def _entry(package: str, entry: dictionaries.Entry, reader: Callable[[str], str], rng: random.Random) -> Passage | None:
    body = reader(entry.text)
    pieces = list(cut([body], rng)) if len(body.split()) > _LONG_DEFINITION else [body]
    if not body or not pieces or len(entry.headword) < 3:
        return None
    named = entry.headword.lower() in pieces[0][: 2 * len(entry.headword)].lower()
    head = "" if named else f"{entry.headword}{rng.choice((': ', '. ', ' - '))}"
    text = _ended(f"{head}{pieces[0]}")
    if not is_prose(text, _SHORT_DEFINITION):
        return None
    told = sentences(body)[:2]
    gloss = re.sub(r"^(?:\([^)]*\)|\d+\.|(?:n|v|adj|adv)\.|[\s,])+", "", max(told, key=len)) if told else ""
    return Passage(package, text, Kind.DEFINITION, title=entry.headword, gloss=gloss)


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", '"')) else f"{text}."


def wordnet(deb: Deb) -> WordNet:
    """Read WordNet."""
    files = deb.members(r"/wordnet/(?:data|index)\.(?:noun|verb|adj)$")
    return WordNet({path.rsplit("/", 1)[-1]: content.decode() for path, content in files})


def definitions(net: WordNet, seed: int) -> Iterator[Passage]:
    """Yield passages about nouns, common ones rather than rare ones, up to the source's cap."""
    source = catalogue.WORDNET
    rng = seeded(seed, source.package)
    worth = (found for found in net.definitions(rng) if _worth(found, net, rng))
    for found in islice(worth, source.most):
        yield Passage(
            source.package,
            found.text,
            Kind.DEFINITION,
            title=found.word,
            gloss=found.gloss,
            field=found.field,
            siblings=found.siblings[:_SIBLINGS],
        )


def _worth(found: Definition, net: WordNet, rng: random.Random) -> bool:
    long_enough = SHORTEST < len(found.text.split()) < LONGEST
    return long_enough and found.field != "" and (net.is_common(found.word) or rng.random() < _RARE_WORDS)


def described(source: catalogue.Words, deb: Deb, seed: int) -> Iterator[Passage]:
    """Yield passages from a game's descriptions, in a drawn order, up to the source's cap."""
    reader: Callable[[bytes], Iterable[games.Described]] = getattr(games, source.reader)
    found = [row for _, content in sorted(deb.members(source.pattern)) for row in reader(content)]
    rng = seeded(seed, source.package, source.reader)
    rng.shuffle(found)
    passages = (_description(source.package, row, rng) for row in found if row.name)
    yield from islice((passage for passage in passages if passage), source.most)


def _description(package: str, row: games.Described, rng: random.Random) -> Passage | None:
    text = next(cut([row.text], rng), "")
    if not text or not is_prose(text, _SHORT_DEFINITION):
        return None
    whole = f"{row.name}: {text}" if rng.random() < _NAMED else text
    return Passage(package, whole, Kind.DEFINITION, title=row.name, gloss=sentences(text)[0])

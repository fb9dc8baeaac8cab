"""The corpus's dictionaries and games: the files of dictd, the prose of an entry, and descriptions of things."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.corpus import dictionaries, games
from recipes.corpus.dictionaries import Entry, entries

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def number(value: int) -> str:
    head = number(value // 64) if value >= 64 else ""
    return f"{head}{DIGITS[value % 64]}"


def dictd(texts: dict[str, str], more: dict[str, str] | None = None) -> tuple[bytes, bytes]:
    """Return index and dictionary; ``more`` maps further headwords to those whose text they point to."""
    content, lines, places = b"", [], {}
    for headword, text in texts.items():
        places[headword] = f"{number(len(content))}\t{number(len(text.encode()))}"
        lines.append(f"{headword}\t{places[headword]}")
        content += text.encode()
    lines += [f"{headword}\t{places[own]}" for headword, own in (more or {}).items()]
    return "".join(f"{line}\n" for line in sorted(lines)).encode(), gzip.compress(content)


def test_dictionary_gives_each_text_under_its_own_headword() -> None:
    """Texts come with the headword they begin with, spelt as there; what the file says of itself isn't one."""
    index, dictionary = dictd({"00-database-info": "About.\n", "heron": "Heron\n   A bird.\n", "œuf": "œuf: an egg.\n"})
    assert list(entries(index, dictionary)) == [
        Entry("Heron", "Heron\n   A bird.\n"),
        Entry("œuf", "œuf: an egg.\n"),
    ]


def test_words_that_point_into_another_entry_are_no_entries() -> None:
    """An entry is told once, under the longest headword that it begins with, however many point to it."""
    index, dictionary = dictd({"grey heron": "grey heron: a bird."}, {"grey": "grey heron", "wader": "grey heron"})
    assert list(entries(index, dictionary)) == [Entry("grey heron", "grey heron: a bird.")]
    assert list(entries(*dictd({"heron": "A text that begins otherwise."}))) == []


@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=300), max_size=20))
def test_any_dictionary_comes_back_whole(bodies: list[str]) -> None:
    """Whatever the lengths of its texts, a dictionary is read back as it was written."""
    texts = {f"word{n:02}": f"word{n:02} {body}" for n, body in enumerate(bodies)}
    assert {entry.headword: entry.text for entry in entries(*dictd(texts))} == texts


def test_gcide_entry_loses_its_apparatus() -> None:
    """Of a Webster's entry only the meanings stay: no pronunciation, etymology, field, source or verse."""
    text = (
        'Heron \\Her"on\\ (h[e^]r"[u^]n), n. [OE. heiroun, OF. [hairon].] (Zool.)\n'
        "   Any wading bird of the family {Ardeidae}; it has a long\n   neck. [1913 Webster]\n\n"
        "            The heron's cry is long. --Spenser.\n"
        "            [1913 Webster]\n"
    )
    assert dictionaries.gcide(text) == "Any wading bird of the family Ardeidae; it has a long neck."


def test_obsolete_gcide_entry_is_left_out() -> None:
    """A word that nobody uses gives no text."""
    assert dictionaries.gcide('Heronsew \\Her"on*sew\\, n. [Obs.]\n   A heronshaw.\n') == ""


def test_foldoc_entry_loses_its_date_and_links() -> None:
    """Of an entry on computing the paragraphs stay, without fields, links and dates."""
    text = (
        "heap\n\n   <programming> An area of {memory} for\n   objects. See (http://example.org/).\n\n   (1996-02-26)\n"
    )
    assert dictionaries.foldoc(text) == "An area of memory for objects. See."


def test_jargon_entry_loses_its_head() -> None:
    """Of the Jargon Lexicon's entry the prose stays, without headword and links."""
    text = "grok\n   /grok/, v.\n\n   To understand. The word comes from a {novel}: https://example.org\n"
    told = dictionaries.jargon(text)
    assert told.startswith("To understand. The word comes from a novel")
    assert "http" not in told


def test_devil_entry_loses_its_verses() -> None:
    """Of The Devil's Dictionary the prose stays, without headword and poem."""
    text = "HERON, n.  A bird that waits\nfor a living.\n\n    It stood so long, it stood so still,\n        it fell.\n"
    assert dictionaries.devil(text) == "A bird that waits for a living."


def test_element_becomes_sentences() -> None:
    """The table of an element is told in a sentence before its prose."""
    text = "iron\nSymbol: Fe\nAtomic number: 26\nAtomic weight: 55.847\nA silvery metal.\n"
    assert dictionaries.element(text) == (
        "Iron (Fe) is the element with atomic number 26; its atomic weight is 55.847. A silvery metal."
    )
    assert dictionaries.element("iron\nA metal.\n") == "A metal."


@pytest.mark.parametrize("reader", ["gcide", "foldoc", "jargon", "devil", "element"])
@given(text=st.text("aB\\[](){}.\n -:1", min_size=1, max_size=80).filter(str.strip))
def test_no_entry_stops_a_reader(reader: str, text: str) -> None:
    """Whatever an entry looks like, a reader gives one line of text, maybe none."""
    assert "\n" not in getattr(dictionaries, reader)(text)


@pytest.mark.parametrize(
    ("reader", "content", "told"),
    [
        (
            "cataclysm",
            json.dumps([{"name": {"str": "heron"}, "description": "A <color_red>big</color> bird."}, {"name": "x"}, 3]),
            [("heron", "A big bird.")],
        ),
        (
            "freeciv",
            '[help_a]\nname = _("?help:Birds")\ntext = _("A heron\\n\\\nwades.")\n',
            [("Birds", "A heron wades.")],
        ),
        ("freeciv_nation", 'plural=_("?plural:Herons")\nlegend=_("They wade.")\n', [("Herons", "They wade.")]),
        ("freeciv_nation", 'plural=_("Herons")\n', []),
        (
            "crawl",
            "%%%%\nheron spell\n\nIt wades\nin water.\n%%%%\nx\n\n{{ lua }}\n%%%%\n",
            [("heron", "It wades in water.")],
        ),
        (
            "freecol",
            "# c\na.name=Heron|Herons\na.description=It wades.\\nYes.\nb.text=%x%\n",
            [("Heron", "It wades. Yes.")],
        ),
    ],
)
def test_games_give_names_with_descriptions(reader: str, content: str, told: list[tuple[str, str]]) -> None:
    """A game's data give the things that have both a name and a description, and nothing with blanks to be filled."""
    assert [(row.name, row.text) for row in getattr(games, reader)(content.encode())] == told

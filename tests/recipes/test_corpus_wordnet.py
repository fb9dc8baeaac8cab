"""The corpus's reading of WordNet, and the definitions it writes."""

import random

import pytest
from corpus_worlds import net

from recipes.corpus.wordnet import WordNet


def test_meanings_are_read_with_their_words_and_examples() -> None:
    """A line of the data gives words, kind of thing, gloss and examples; the licence at its head gives nothing."""
    read = net()
    bird = read.synsets["n00000001"]
    assert (bird.words, bird.part, bird.field) == (("bird", "feathered friend"), "noun", "animal")
    assert (bird.gloss, bird.examples) == ("a winged animal", ("one bird sat",))
    assert bird.towards("~") == ["n00000002", "n00000003"]
    assert read.synsets["a00000001"].words == ("grey", "gray")
    assert len(read.synsets) == 8


@pytest.mark.parametrize(
    ("word", "letter", "known"),
    [
        ("heron", "n", True),
        ("feathered friend", "n", True),
        ("heron", "v", False),
        ("swim", "v", True),
        ("x", "a", False),
    ],
)
def test_word_classes_are_known(word: str, letter: str, known: bool) -> None:
    """A word is known for the classes it has an entry in."""
    assert net().known(word, letter) is known


def test_common_nouns_are_those_that_were_counted() -> None:
    """A noun that was counted in texts is common, whatever its case; others aren't."""
    read = net()
    assert read.is_common("Goose")
    assert not read.is_common("heron")


def test_definition_tells_the_meaning_and_its_neighbours() -> None:
    """A definition holds the gloss, other names, what the thing is a kind of, its kinds, and its parts."""
    read = net()
    told = {found.word: found for found in read.definitions(random.Random(1))}
    assert set(told) == {"bird", "heron", "goose", "wing", "river", "Timbuktu"}
    goose = told["goose"]
    assert goose.gloss in goose.text
    assert "A bird is a winged animal." in goose.text
    assert "It has as its parts wing." in goose.text
    assert goose.siblings == ("heron",)
    assert "Kinds of bird include heron and goose." in told["bird"].text
    assert "feathered friend" in told["bird"].text
    assert "Tombouctou" in told["Timbuktu"].text
    assert all(found.text.endswith(".") for found in told.values())


def test_definitions_are_deterministic_for_a_seed() -> None:
    """The same seed gives the same definitions in the same order."""
    read = net()
    assert list(read.definitions(random.Random(7))) == list(read.definitions(random.Random(7)))


def test_a_word_with_two_meanings_has_the_commoner_first() -> None:
    """The senses of a word keep the order of the index, which is that of their frequency."""
    files = {f"{kind}.{part}": "" for kind in ("data", "index") for part in ("noun", "verb", "adj")}
    files["index.noun"] = "bank n 2 1 @ 2 2 00000009 00000003\n"
    assert WordNet(files).senses["bank", "n"] == ["n00000009", "n00000003"]

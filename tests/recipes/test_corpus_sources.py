"""The corpus's packages: the catalogue, what is read out of a package, and what is told when one is missing."""

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from corpus_worlds import FILES, TOPICS, deb, paragraph, prose

from recipes.corpus import catalogue, debian, dictionaries, games, packages
from recipes.corpus.packages import MissingInput, obtain
from recipes.corpus.records import Kind, Passage
from recipes.corpus.store import kept

WORDS = (*catalogue.DICTIONARIES, *catalogue.GAMES, catalogue.WORDNET)
COPYRIGHT = b"License: GPL-2\n\nLicense: Expat\n\nLicense: GPL-2\n"


@pytest.mark.parametrize("source", [*catalogue.PAGES, *WORDS], ids=str)
def test_every_source_has_a_licence_and_a_bound(source: catalogue.Pages | catalogue.Words) -> None:
    """No source is in the catalogue without a licence and a number of passages; its pattern can be read."""
    assert source.licence.strip()
    assert "non-commercial" not in source.licence.lower()
    assert source.most > 0
    re.compile(source.pattern)


@pytest.mark.parametrize("source", [*catalogue.DICTIONARIES, *catalogue.GAMES], ids=str)
def test_every_reader_exists(source: catalogue.Words) -> None:
    """The catalogue names functions that are there, and a dictionary or a game is listed under its kind."""
    assert callable(getattr(dictionaries if source in catalogue.DICTIONARIES else games, source.reader))


def test_no_source_is_read_twice() -> None:
    """A package's pages stand in the catalogue once, under a name of their own."""
    names = [name for source in catalogue.PAGES for name in source.packages]
    assert len(names) == len(set(names))


def page(topic: str) -> bytes:
    paragraphs = "".join(f"<p>{paragraph(topic, n)}</p>" for n in range(12))
    return f"<html><title>{topic}</title><nav><p>Next</p></nav><h1>The {topic}</h1>{paragraphs}</html>".encode()


def test_pages_of_a_package_become_passages(tmp_path: Path) -> None:
    """Prose out of the pages that the pattern names comes up to the cap, the same for the same seed."""
    files = {f"usr/share/doc/birds/html/{topic}.html": page(topic) for topic in TOPICS[:5]}
    files |= {"usr/share/doc/birds/html/gpl.html": page("licence"), "usr/share/doc/birds/copyright": COPYRIGHT}
    deb(tmp_path, "birds", files)
    source = catalogue.Pages(("old-birds", "birds"), r"/html/.*\.html$", 20, "GPL-2", skip=r"gpl")
    found = obtain(("birds",), tmp_path)
    passages = list(debian.pages(source, found, 1))
    assert len(passages) == 20
    assert passages == list(debian.pages(source, found, 1))
    assert passages != list(debian.pages(source, found, 2))
    assert all(passage.source == "old-birds" and "licence" not in passage.text for passage in passages)
    assert {passage.title for passage in passages} <= {f"The {topic}" for topic in TOPICS[:5]}
    assert (found.name, found.version, found.section) == ("birds", "1.0-1", "doc")
    assert found.licences() == ["Expat", "GPL-2"]


def test_dictionary_of_a_package_becomes_definitions(tmp_path: Path) -> None:
    """An entry of a dictionary's two files becomes a passage under its headword; a mere stub becomes none."""
    gloss = "a bird that waits in the water for the fish that it lives on, and that has a long neck and a long bill"
    content = f"HERON, n.  It is {gloss}, as all who have seen one at a river know.\nGNU, n.  An animal.\n".encode()
    start = content.index(b"GNU")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def digits(value: int) -> str:
        return f"{letters[value // 64]}{letters[value % 64]}"

    index = f"heron\t{digits(0)}\t{digits(start)}\ngnu\t{digits(start)}\t{digits(len(content) - start)}\n"
    folder = "usr/share/dictd/devil"
    deb(
        tmp_path, "dict-devil", {f"{folder}.index": index.encode(), f"{folder}.dict.dz": gzip.compress(content)}, "text"
    )
    (source,) = (source for source in catalogue.DICTIONARIES if source.package == "dict-devil")
    (passage,) = debian.dictionary(source, obtain(("dict-devil",), tmp_path), 1)
    assert (passage.kind, passage.title) == (Kind.DEFINITION, "HERON")
    assert passage.text.startswith("HERON")
    assert gloss in passage.text


def test_wordnet_is_read_out_of_its_package(tmp_path: Path) -> None:
    """The six files of WordNet are found and read; meanings that are told too briefly give no passage."""
    deb(tmp_path, "wordnet-base", {f"usr/share/wordnet/{name}": text.encode() for name, text in FILES.items()}, "text")
    net = debian.wordnet(obtain(("wordnet-base",), tmp_path))
    assert net.known("heron", "n")
    assert all(passage.kind is Kind.DEFINITION for passage in debian.definitions(net, 1))


def test_package_that_is_not_to_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If neither the cache nor the archive has a package, the message names it and says what to do."""
    monkeypatch.setattr(packages, "_download", lambda name, cache: None)
    with pytest.raises(MissingInput, match=r"birds or old-birds is not to be had: run apt-get update, or put the file"):
        obtain(("birds", "old-birds"), tmp_path)


def test_system_without_apt_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tools of Debian are missing, the message says so instead of a traceback of a process."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingInput, match="apt-get is not here"):
        obtain(("birds",), tmp_path)


def test_package_outside_main_is_refused(tmp_path: Path) -> None:
    """What isn't in Debian's main section isn't free, and is not read."""
    deb(tmp_path, "birds", {"usr/x": b""}, section="non-free/doc")
    with pytest.raises(MissingInput, match="section non-free/doc; only Debian's main section is free"):
        obtain(("birds",), tmp_path)


def test_passages_are_cut_once(tmp_path: Path) -> None:
    """What was cut comes back from the cache as it was, for the same key alone."""
    made: list[int] = []

    def make() -> list[Passage]:
        made.append(1)
        return [*prose(5), Passage("s", "œ\u2028x", Kind.DEFINITION, siblings=("a", "b"))]

    first = kept(tmp_path, ("sha", 1), make)
    assert kept(tmp_path, ("sha", 1), make) == first == make()
    assert len(made) == 2
    kept(tmp_path, ("sha", 2), make)
    assert len(made) == 3


def test_run_that_was_killed_leaves_no_half_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the passages can't be written to their end, the next run cuts them again."""

    def killed(path: Path, text: str, encoding: str) -> Iterable[object]:
        path.write_bytes(text.encode()[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            kept(tmp_path, "key", lambda: prose(3))
    assert kept(tmp_path, "key", lambda: prose(3)) == prose(3)

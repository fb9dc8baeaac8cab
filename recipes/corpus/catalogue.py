"""Which Debian packages are read, what in them, how much of it at most, and under which licence."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages of marked-up text in a package.

    :param packages: Its names in Debian's releases; the first that can be had is taken.
    :param pattern: A regular expression on the paths to read.
    :param most: How many passages it may give at most.
    :param licence: As the package's copyright file says.
    :param skip: A regular expression on paths to leave out.
    """

    packages: tuple[str, ...]
    pattern: str
    most: int
    licence: str
    skip: str = r"(?!)"

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        return self.packages[0]


@dataclass(frozen=True, slots=True)
class Words:
    """Words and things that a package describes one by one.

    :param reader: The function that reads it, in :mod:`recipes.corpus.dictionaries` or :mod:`recipes.corpus.games`.
    :param pattern: A regular expression on the paths to read, for a game.
    """

    package: str
    most: int
    licence: str
    reader: str
    pattern: str = ""


_INDEX = r"/(?:genindex|search|index-all|idx|copyright|license|legal|appendix-gfdl|gfdl|fdl|gpl)[^/]*$"

_PYTHON = r"/html/(?:tutorial|howto|faq|reference|glossary|library|using|installing|distributing)[./].*html$"
_RUST = r"/html/(?:book|nomicon|edition-guide|cargo|reference)/[^/]*\.html$"
_SKLEARN = r"/html/(?:stable/)?(?:modules/[a-z_]+\.html|tutorial/|faq|glossary|common_pitfalls).*$"

PAGES: tuple[Pages, ...] = (
    # society, history, money, law
    Pages(("anarchism",), r"/html/.*\.html$", 4500, "GPL-2"),
    Pages(
        ("gnucash-docs",),
        r"/gnucash-guide(?:-en|-C)?/.*\.html$|/C/gnucash-guide/.*\.html$",
        700,
        "GFDL-1.1 or later, no invariant sections",
        _INDEX,
    ),
    Pages(("kmymoney-common",), r"/HTML/en/.*\.docbook$", 300, "GPL-2 or later"),
    Pages(("homebank-data",), r"/help/.*\.html$", 120, "GPL-2 or later"),
    Pages(("cfi-en",), r"/html/.*\.html?$", 500, "public domain"),
    Pages(("debian-history",), r"/html/.*\.html$|\.en\.html$", 150, "GPL-2 or later"),
    Pages(("png-definitive-guide",), r"/html/.*\.html$", 500, "GFDL-1.1 or later, no invariant sections"),
    # the sky, the elements, music, geography, colour
    Pages(("stellarium-data",), r"/(?:skycultures|landscapes)/.*description\.en\.utf8$", 900, "GPL-2 or later"),
    Pages(("kstars-data",), r"/HTML/en/.*\.docbook$", 450, "GFDL-1.2 or later, no invariant sections"),
    Pages(
        ("lilypond-doc-html",),
        r"/(?:music-glossary|essay)/[^/]*(?<!\.\w\w)\.html$",
        500,
        "GFDL-1.3 or later",
        r"licen[cs]e|bibliograph",
    ),
    Pages(("solfege-doc",), r"/help/C/.*\.html$", 60, "GPL-3 or later"),
    Pages(("argyll-doc",), r"\.html$", 250, "Expat", r"Changes|log"),
    Pages(("therion-doc",), r"\.html$", 60, "GPL-2 or later"),
    Pages(("grass-doc",), r"/html/.*\.html$", 500, "GPL-2 or later"),
    Pages(("aisleriot",), r"/C/aisleriot/.*\.(?:xml|docbook)$", 180, "GFDL-1.1 or later, no invariant sections"),
    Pages(("hugin-data",), r"/help_en_EN/.*\.html$", 250, "GPL-2 or later", r"(?i)transl|glossary"),
    # using a computer
    Pages(("gnome-user-docs",), r"/C/gnome-help/.*\.page$", 700, "CC-BY-SA-3.0"),
    Pages(("mate-user-guide",), r"/C/.*\.(?:docbook|xml)$", 250, "GFDL-1.1 or later"),
    Pages(("gimp-help-en",), r"\.html$", 900, "GFDL-1.2 or later, no invariant sections"),
    Pages(("libreoffice-help-en-us",), r"/text/.*\.html$", 700, "MPL-2.0, parts Apache-2.0"),
    Pages(("freedombox-doc-en",), r"\.html$", 250, "CC-BY-SA-4.0"),
    Pages(
        ("debian-edu-doc-en",),
        r"/en/.*\.html$|-en.*\.html$|manual\.html$",
        150,
        "GPL-2 or later, one manual GPL-3 or later",
    ),
    Pages(("debian-handbook",), r"/html/en-US/[^/]*\.html$", 900, "GPL-2 or later or CC-BY-SA-3.0"),
    Pages(("debian-reference-en",), r"\.en\.html$", 350, "GPL-2 or later"),
    Pages(("debian-faq",), r"\.html$", 120, "its own copyleft: modified copies under the same notice"),
    Pages(("debian-policy",), r"/policy\.html/ch-.*\.html$", 250, "GPL-2 or later"),
    Pages(("developers-reference",), r"(?<!\.\w\w)\.html$", 200, "GPL-2 or later"),
    Pages(("harden-doc",), r"/en-US/.*\.html$", 400, "GPL-2 or later"),
    Pages(("installation-guide-amd64",), r"/en\.amd64/.*\.html$|/en/.*\.html$", 250, "GPL-2"),
    # programming and computing
    Pages(("python3.11-doc", "python3.13-doc", "python3.12-doc"), _PYTHON, 1500, "PSF-2.0", _INDEX),
    Pages(("rust-doc",), _RUST, 800, "MIT or Apache-2.0", r"print\.html$|/(?:first|second|2018)-edition/"),
    Pages(("python-sklearn-doc",), _SKLEARN, 500, "BSD-3-clause", r"generated"),
    Pages(("postgresql-doc-15", "postgresql-doc-17"), r"\.html$", 800, "PostgreSQL"),
    Pages(("octave-doc",), r"/octave\.html/.*\.html$", 400, "GPL-3 or later"),
    Pages(("apache2-doc",), r"(?<!\.\w\w)\.html(?:\.en)?$", 350, "Apache-2.0"),
    Pages(("git-doc",), r"/(?:git[^/]*|user-manual|giteveryday|howto/.*)\.html$", 350, "GPL-2"),
)
"""Pages by theme; what is left of its cap goes to nobody else."""

DICTIONARIES: tuple[Words, ...] = (
    Words("dict-gcide", 6000, "GPL-2 or later", reader="gcide"),
    Words("dict-foldoc", 1400, "GFDL-1.1 or later, no invariant sections", reader="foldoc"),
    Words("dict-jargon", 700, "public domain", reader="jargon"),
    Words("dict-devil", 250, "public domain", reader="devil"),
    Words("dict-elements", 120, "public domain", reader="element"),
)

GAMES: tuple[Words, ...] = (
    Words("cataclysm-dda-data", 1200, "CC-BY-SA-3.0", reader="cataclysm", pattern=r"/json/.*\.json$"),
    Words("freeciv-data", 160, "GPL-2 or later", reader="freeciv", pattern=r"/helpdata\.txt$"),
    Words("freeciv-data", 600, "GPL-2 or later", reader="freeciv_nation", pattern=r"/nation/[^/]*\.ruleset$"),
    Words(
        "crawl-common",
        350,
        "GPL-2 or later",
        reader="crawl",
        pattern=r"/descript/(?:monsters|items|features|gods|spells|branches|species|unrand)\.txt$",
    ),
    Words("freecol", 120, "GPL-2 or later", reader="freecol", pattern=r"/strings/FreeColMessages\.properties$"),
)

WORDNET = Words("wordnet-base", 8000, "WordNet-3.0", reader="")

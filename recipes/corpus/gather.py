"""Reads every source, and notes what it is and under which licence."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from recipes.corpus import catalogue, datasets, debian, manifest
from recipes.corpus.packages import Deb, obtain
from recipes.corpus.records import Passage
from recipes.corpus.store import kept
from recipes.corpus.wordnet import WordNet

Say = Callable[[str], None]


@dataclass(slots=True)
class Gathered:
    """Everything that was read.

    :param queries: Each with its source and the keys of its answers.
    :param records: The sources, for the manifest.
    """

    passages: list[Passage] = field(default_factory=list)
    queries: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    records: list[dict[str, object]] = field(default_factory=list)

    def add_dataset(self, data: datasets.Dataset, name: str, licence: str, assets: Path) -> None:
        """Take a data set in."""
        self.passages += data.passages
        self.queries += data.queries
        files = [manifest.file_record(path, assets) for path in data.files]
        self.records.append({"data set": name, "licence": licence, "passages": len(data.passages), "files": files})

    def add_deb(self, deb: Deb, licence: str, passages: Iterable[Passage]) -> None:
        """Take a Debian package's passages in."""
        found = list(passages)
        self.passages += found
        self.records.append(manifest.deb_record(deb, licence, len(found)))


def gather(options: argparse.Namespace, say: Say) -> tuple[Gathered, WordNet]:
    """Read all sources, those for research only if that is asked for; WordNet comes back for its word classes too."""
    found = Gathered()
    _add_datasets(found, options)
    say("data sets read")
    _add_pages(found, options, say)
    _add_words(found, options)
    deb = obtain((catalogue.WORDNET.package,), options.cache / "packages")
    net = debian.wordnet(deb)
    _add(found, deb, catalogue.WORDNET, options, partial(debian.definitions, net, options.seed))
    say("dictionaries and games read")
    return found, net


def _add_datasets(found: Gathered, options: argparse.Namespace) -> None:
    assets, seed = options.assets, options.seed
    found.add_dataset(datasets.scifact(assets, seed), "SciFact, training claims", "CC BY 4.0 / ODC-By", assets)
    found.add_dataset(datasets.xquad(assets), "XQuAD, 24 articles", "CC BY-SA 4.0", assets)
    if options.with_research:
        academic, research = "academic use only", "MS MARCO: non-commercial research only"
        found.add_dataset(datasets.nfcorpus(assets, seed), "NFCorpus, training queries", academic, assets)
        found.add_dataset(datasets.trec_dl_2021(assets), "TREC DL 2021", research, assets)


def _add_pages(found: Gathered, options: argparse.Namespace, say: Say) -> None:
    for source in catalogue.PAGES:
        deb = obtain(source.packages, options.cache / "packages")
        _add(found, deb, source, options, partial(debian.pages, source, deb, options.seed))
        say(source.name)


def _add_words(found: Gathered, options: argparse.Namespace) -> None:
    for source in (*catalogue.DICTIONARIES, *catalogue.GAMES):
        deb = obtain((source.package,), options.cache / "packages")
        make = debian.dictionary if source in catalogue.DICTIONARIES else debian.described
        _add(found, deb, source, options, partial(make, source, deb, options.seed))


def _add(
    found: Gathered,
    deb: Deb,
    source: catalogue.Pages | catalogue.Words,
    options: argparse.Namespace,
    make: Callable[[], Iterable[Passage]],
) -> None:
    """Take a package's passages in, from the cache where they were cut before."""
    found.add_deb(deb, source.licence, kept(options.cache, (deb.sha256, source, options.seed), make))

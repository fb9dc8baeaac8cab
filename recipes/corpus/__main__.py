"""Makes the training corpus: groups of a query and passages, out of which a teacher's view of them is distilled.

usage: python -m recipes.corpus --assets FOLDER --out FOLDER [--cache FOLDER] [--seed N] [--with-research]

Writes train.jsonl, validation.jsonl and manifest.json. The same sources and seed give the same files.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from recipes.corpus import asking, datasets, mining
from recipes.corpus.gather import Say, gather
from recipes.corpus.groups import groups
from recipes.corpus.lexicon import Lexicon
from recipes.corpus.output import write
from recipes.corpus.packages import MissingInput
from recipes.corpus.pool import unique
from recipes.corpus.records import Passage, Query
from recipes.corpus.split import split

MADE_QUERIES = 21_000
GROUP = 16
VALIDATION_GROUP = 24
DEPTH = 50


def main() -> None:
    """Read the sources, ask the queries, find their candidates, and write the groups."""
    options = _options()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True)

    gathered, net = gather(options, say)
    judges = datasets.judges(options.assets)
    pool = unique(gathered.passages, judges.passages)
    say(f"{len(pool):,} passages in the pool, of {len(gathered.passages):,}")

    lexicon = Lexicon(net, (passage.text for passage in pool))
    made = asking.made(pool, lexicon, options.queries, options.seed)
    queries = asking.admitted([*asking.written(gathered.queries, pool), *made], judges.queries)
    say(f"{len(queries):,} queries")

    found = _mine(queries, pool, options, say)
    train, validation = split(queries, options.seed)
    written = {
        "train": groups("t", train, queries, pool, found, size=GROUP, seed=options.seed),
        "validation": groups("v", validation, queries, pool, found, size=VALIDATION_GROUP, seed=options.seed),
    }
    write(options.out, written, gathered.records, pool, _settings(options))
    say(f"{options.out}: {', '.join(f'{len(rows):,} groups of {name}' for name, rows in written.items())}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m recipes.corpus", description="Makes the training corpus.")
    parser.add_argument("--assets", type=Path, required=True, help="holds data/scifact, data/xquad-en and the judges")
    parser.add_argument("--out", type=Path, required=True, help="where the data is written")
    parser.add_argument("--cache", type=Path, help="keeps packages, weights and vectors; OUT/cache if not given")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other passages and queries")
    parser.add_argument("--queries", type=int, default=MADE_QUERIES, help="how many queries are made from passages")
    parser.add_argument("--words-only", action="store_true", help="mine with BM25 alone: quicker, for a first look")
    research = "add NFCorpus and TREC DL 2021, whose terms allow research only"
    parser.add_argument("--with-research", action="store_true", help=research)
    options = parser.parse_args()
    options.cache = options.cache or options.out / "cache"
    return options


def _mine(
    queries: Sequence[Query], pool: Sequence[Passage], options: argparse.Namespace, say: Say
) -> list[mining.Positions]:
    asked, texts = [query.text for query in queries], [passage.text for passage in pool]
    found = [mining.by_words(asked, texts, DEPTH)]
    say("BM25 is through")
    if not options.words_only:
        found.append(mining.by_meaning(asked, texts, DEPTH, options.cache, say))
        say("the bi-encoder is through")
    return found


def _settings(options: argparse.Namespace) -> dict[str, object]:
    return {
        "use": "research only: it holds NFCorpus and MS MARCO" if options.with_research else "as the licences allow",
        "seed": options.seed,
        "queries made from passages": options.queries,
        "candidates": {"train": GROUP, "validation": VALIDATION_GROUP, "mined to rank": DEPTH},
        "bm25": {"k1": mining.K1, "b": mining.B, "stop words": "en", "stemmer": "english"},
        "bi-encoder": None if options.words_only else mining.encoder_name(),
    }


if __name__ == "__main__":
    try:
        main()
    except MissingInput as error:
        sys.exit(f"recipes.corpus: {error}")

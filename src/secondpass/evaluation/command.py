"""What the command ``evaluate`` does: read the collection that its options name, and write down what was found."""

import json
from dataclasses import dataclass
from pathlib import Path

from secondpass.errors import ConfigurationError
from secondpass.evaluation.beir import read_beir
from secondpass.evaluation.collection import Collection
from secondpass.evaluation.results import Evaluation
from secondpass.evaluation.squad import read_squad
from secondpass.evaluation.trec import read_trec, read_trec_json
from secondpass.text import well_formed

_FORMS = "--beir FOLDER, --squad FILE, --run FILE.json --qrels FILE, or --run, --qrels, --queries and --texts"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a collection is: one of a BEIR folder, a SQuAD file, or a run with its judgements.

    :param beir: A folder in BEIR's form.
    :param split: Which of its judgements to take.
    :param squad: A file in SQuAD's form.
    :param run: A TREC run, or a ``.json`` that carries its texts.
    :param qrels: The judgements that go with a run.
    :param queries: The questions that go with a TREC run.
    :param texts: The texts that go with a TREC run.
    :param candidates: How many candidates a query has at most.
    :param limit: Only the first so many queries; None for all.
    """

    beir: Path | None = None
    split: str = "test"
    squad: Path | None = None
    run: Path | None = None
    qrels: Path | None = None
    queries: Path | None = None
    texts: Path | None = None
    candidates: int = 100
    limit: int | None = None

    def read(self) -> Collection:
        """Read the collection, cut to the candidates and queries that are wanted.

        :raises ConfigurationError: If it isn't exactly one collection.
        :raises InputError: If its files can't be read.
        """
        if sum(source is not None for source in (self.beir, self.squad, self.run)) != 1:
            raise ConfigurationError(f"give exactly one collection: {_FORMS}")
        collection = self._collection()
        if max(map(len, collection.run.values())) > self.candidates:
            collection = collection.cut(self.candidates)
        return collection if self.limit is None else collection.first(self.limit)

    def _collection(self) -> Collection:
        if self.beir:
            return read_beir(self.beir, self.split, depth=self.candidates)
        if self.squad:
            return read_squad(self.squad, depth=self.candidates)
        if self.run and self.qrels and self.run.suffix == ".json":
            return read_trec_json(self.run, self.qrels)
        if self.run and self.qrels and self.queries and self.texts:
            return read_trec(self.run, self.qrels, self.queries, self.texts)
        raise ConfigurationError(f"a run needs its judgements, and unless it is JSON its questions and texts: {_FORMS}")


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the results go, checked before anything is computed.

    :param json: Everything, as data.
    :param markdown: The tables.
    :raises ConfigurationError: If a file's folder isn't there.
    """

    json: Path | None
    markdown: Path | None

    def __post_init__(self) -> None:
        """Check the folders: an hour of scoring should not end at a misspelt name."""
        for option, path in (("--json", self.json), ("--markdown", self.markdown)):
            if path and (not path.parent.is_dir() or path.is_dir()):
                raise ConfigurationError(f"{option} must name a file in a folder that is there, got {path}")

    def write(self, evaluation: Evaluation) -> None:
        """Write what was asked for."""
        if self.json:
            data = json.dumps(evaluation.to_dict(), indent=1, ensure_ascii=False) + "\n"
            self.json.write_text(well_formed(data), "utf-8")
        if self.markdown:
            self.markdown.write_text(well_formed(evaluation.to_markdown()), "utf-8")


def whole_numbers(option: str, given: str) -> tuple[int, ...]:
    """Read numbers that stand between commas or blanks.

    :raises ConfigurationError: If one isn't a whole number.
    """
    try:
        return tuple(int(number) for number in given.replace(",", " ").split())
    except ValueError as error:
        raise ConfigurationError(f"{option} must be whole numbers with commas between, got {given!r}") from error

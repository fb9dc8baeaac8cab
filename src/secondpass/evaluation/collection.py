"""The test collection: questions, texts, judgements, and what the first stage found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, InputError

Qrels = Mapping[str, Mapping[str, int]]
"""From a query's id to its judged texts' ids, each with its grade; 0 and below is not relevant."""
Run = Mapping[str, Sequence[Candidate]]
"""From a query's id to what the first stage found for it, best first."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What an evaluation is run on. Queries without a judgement and without an answer are left out.

    A judged query for which the first stage found nothing stays in, and counts 0 on every measure: leaving it out
    would make the first stage look better than it is.

    :param name: What results call it.
    :param queries: From a query's id to its text.
    :param corpus: From a text's id to the text; every candidate of the run is in it.
    :param qrels: The judgements. Judged texts that aren't in the corpus count as relevant and not found.
    :param run: The first stage's candidates for each query, best first, each with an id.
    :param answers: From a query's id to the strings that answer it, where they are known.
    :param notes: What a reader of the results should know, such as how many queries were left out.
    :raises InputError: If no query is judged or has an answer, or the run names what isn't there.
    """

    name: str
    queries: Mapping[str, str] = field(repr=False)
    corpus: Mapping[str, str] = field(repr=False)
    qrels: Qrels = field(repr=False)
    run: Run = field(repr=False)
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit together, and keep the queries that can be evaluated."""
        known = [query for query in self.queries if self.qrels.get(query) or self.answers.get(query)]
        if not known:
            raise InputError(
                f"at least one query of {self.name} must have a judgement or an answer: of {len(self.queries)} queries "
                f"(such as {_some(self.queries)}) none is among the {len(self.qrels)} judged (such as "
                f"{_some(self.qrels)}); check that queries and qrels use the same ids"
            )
        _check_known(self.name, "the run", "query", self.run, self.queries)
        for query, candidates in self.run.items():
            _check_candidates(f"the run of {self.name} for query {query!r}", candidates, self.corpus)
        _check_answers(self.name, self.answers)
        set_ = object.__setattr__
        set_(self, "notes", tuple(dict.fromkeys((*self.notes, *self._left_out()))))  # a cut asks again
        set_(self, "queries", {query: self.queries[query] for query in known})
        set_(self, "qrels", {query: dict(self.qrels[query]) for query in known if self.qrels.get(query)})
        set_(self, "run", {query: tuple(self.run.get(query, ())) for query in known})
        set_(self, "answers", {query: tuple(self.answers[query]) for query in known if self.answers.get(query)})

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.queries)

    def first(self, queries: int) -> "Collection":
        """Return the same collection with its first so many queries.

        :raises ConfigurationError: If the number isn't from 1.
        """
        if queries < 1:
            raise ConfigurationError(f"a collection must keep at least 1 query, got {queries}")
        kept = dict(list(self.queries.items())[:queries])
        note = f"the first {len(kept)} of {len(self)} queries" if len(kept) < len(self) else ""
        return self._with(run={query: self.run[query] for query in kept}, queries=kept, note=note)

    def cut(self, candidates: int) -> "Collection":
        """Return the same collection with only the first so many candidates for each query.

        :raises ConfigurationError: If the number isn't from 1.
        """
        if candidates < 1:
            raise ConfigurationError(f"a run must keep at least 1 candidate a query, got {candidates}")
        run = {query: found[:candidates] for query, found in self.run.items()}
        return self._with(run=run, queries=self.queries, note=f"at most {candidates} candidates a query")

    def _with(self, *, run: Run, queries: Mapping[str, str], note: str) -> "Collection":
        qrels = {query: grades for query, grades in self.qrels.items() if query in queries}
        answers = {query: strings for query, strings in self.answers.items() if query in queries}
        notes = (*self.notes, note) if note else self.notes
        return replace(self, run=run, queries=queries, qrels=qrels, answers=answers, notes=notes)

    def _left_out(self) -> list[str]:
        """Say how many judged queries have no text here (they are in no mean), and where no relevant text was found."""
        unasked = len([query for query in self.qrels if query not in self.queries])
        notes = [f"{unasked} of {len(self.qrels)} judged queries have no text and are left out"] if unasked else []
        if self.qrels and not any(self._finds(query, grades) for query, grades in self.qrels.items()):
            notes.append("the first stage found no relevant text for any query: check that both use the same ids")
        return notes

    def _finds(self, query: str, grades: Mapping[str, int]) -> bool:
        return any(grades.get(str(candidate.id), 0) > 0 for candidate in self.run.get(query, ()))


def unique(what: str, items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return pairs of id and text as a mapping.

    :param what: Where they are from, as the subject of a sentence.
    :raises InputError: If an id comes twice.
    """
    found: dict[str, str] = {}
    for key, text in items:
        if key in found:
            raise InputError(f"{what} must name each id once, and {key!r} comes twice")
        found[key] = text
    return found


def _check_known(name: str, part: str, kind: str, ids: Iterable[str], known: Mapping[str, object]) -> None:
    unknown = [key for key in ids if key not in known]
    if unknown:
        raise InputError(
            f"{part} of {name} must name a {kind} that is there: {len(unknown)} ids are unknown, such as "
            f"{_some(unknown)}, while there are {len(known)} such as {_some(known)}"
        )


def _check_answers(name: str, answers: Mapping[str, Sequence[str]]) -> None:
    for query, strings in answers.items():
        if isinstance(strings, str):
            raise InputError(
                f"the answers of {name} must be a list of strings for each query, and query {query!r} has one string: "
                f"{strings!r:.80}"
            )


def _check_candidates(where: str, candidates: Sequence[Candidate], corpus: Mapping[str, str]) -> None:
    ids = [candidate.id for candidate in candidates]
    unknown = [key for key in ids if key is None or key not in corpus]
    if unknown:
        raise InputError(
            f"{where} must name texts of the corpus: {len(unknown)} of {len(ids)} ids are not in it, such as "
            f"{unknown[0]!r}, while the corpus has ids such as {_some(corpus)}"
        )
    if len(set(ids)) < len(ids):
        twice = next(key for key in ids if ids.count(key) > 1)
        raise InputError(f"{where} must name each text once, and {twice!r} comes twice: rankings are measured by id")
    ranks = [candidate.rank for candidate in candidates if candidate.rank is not None]
    if len(ranks) == len(ids) and ranks != sorted(set(ranks)):
        raise InputError(f"{where} must be best first, and its ranks are {ranks[:5]}: sort it, or leave the ranks out")


def _some(ids: Iterable[str]) -> str:
    return ", ".join(repr(key) for key in list(ids)[:2]) or "none"

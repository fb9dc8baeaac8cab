"""The test collection, and the user's own vector store as the first stage that finds its candidates.

LangChain's and LlamaIndex's objects are recognised by their methods; neither framework is imported here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from secondpass.errors import ConfigurationError, InputError
from secondpass.records import Candidate, as_candidates, first_stage_ranks

Qrels = Mapping[str, Mapping[str, int]]
"""From a query's id to its judged texts' ids, each with its grade; 0 and below is not relevant."""
Run = Mapping[str, Sequence[Candidate]]
"""From a query's id to the first stage's candidates for it, best first."""
Retrieve = Callable[[str, int], Sequence[Candidate]]
"""A first stage: from a question and a number k to at most k candidates, each with an id."""
IdSource = str | Callable[[Any], str | None] | None
"""Where a text's id comes from: a metadata key, a function of the document or node, or None for its own id."""


@dataclass(frozen=True, slots=True)
class Collection:
    """The input of an evaluation. Queries without a judgement and without an answer are left out.

    A judged query without candidates stays in, and counts 0 on every measure: leaving it out would make the first
    stage look better than it is.

    :param name: The name in results.
    :param queries: From a query's id to its text.
    :param corpus: From a text's id to the text; every candidate of the run is in it.
    :param qrels: The judgements. Ranked texts that aren't in the corpus count as relevant and not retrieved.
    :param run: The first stage's candidates for each query, best first, each with an id.
    :param answers: From a query's id to the strings that answer it, where they are known.
    :param notes: Remarks for the results, such as how many queries were left out.
    :raises InputError: If no query is judged or has an answer, or the run names an unknown query or text.
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
        kept = [query for query in self.queries if self.qrels.get(query) or self.answers.get(query)]
        if not kept:
            raise InputError(
                f"at least one query of {self.name} must have a judgement or an answer: of {len(self.queries)} queries "
                f"(such as {_examples(self.queries)}) none is among the {len(self.qrels)} judged (such as "
                f"{_examples(self.qrels)}); check that queries and qrels use the same ids"
            )
        _check_known(f"the run of {self.name} must name a query that is there", self.run, self.queries)
        for query, candidates in self.run.items():
            _check_candidates(f"the run of {self.name} for query {query!r}", candidates, self.corpus)
        for query, answers in self.answers.items():
            if isinstance(answers, str):
                raise InputError(f"answers must be a list of strings, and query {query!r} has one string: {answers!r}")
        set_ = object.__setattr__
        set_(self, "notes", tuple(dict.fromkeys((*self.notes, *self._warnings()))))  # `first` and `cut` warn again
        set_(self, "queries", {query: self.queries[query] for query in kept})
        set_(self, "qrels", {query: dict(self.qrels[query]) for query in kept if self.qrels.get(query)})
        set_(self, "run", {query: tuple(self.run.get(query, ())) for query in kept})
        set_(self, "answers", {query: tuple(self.answers[query]) for query in kept if self.answers.get(query)})

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.queries)

    def first(self, queries: int) -> "Collection":
        """Return the collection of the first queries only, at least 1."""
        if queries < 1:
            raise ConfigurationError(f"a collection must keep at least 1 query, got {queries}")
        kept = dict(list(self.queries.items())[:queries])
        qrels = {query: grades for query, grades in self.qrels.items() if query in kept}
        run = {query: self.run[query] for query in kept}
        note = [f"the first {queries} of {len(self)} queries"] if queries < len(self) else []
        return replace(self, queries=kept, qrels=qrels, run=run, notes=(*self.notes, *note))

    def cut(self, candidates: int) -> "Collection":
        """Return the collection with the first candidates of each query only, at least 1."""
        if candidates < 1:
            raise ConfigurationError(f"a run must keep at least 1 candidate a query, got {candidates}")
        run = {query: ranked[:candidates] for query, ranked in self.run.items()}
        return replace(self, run=run, notes=(*self.notes, f"at most {candidates} candidates a query"))

    def _warnings(self) -> Iterable[str]:
        if without_text := len(self.qrels.keys() - self.queries.keys()):
            yield f"{without_text} of {len(self.qrels)} judged queries have no text and are left out"
        grades = [self.qrels[q].get(str(item.id), 0) for q in self.qrels for item in self.run.get(q, ())]
        if self.qrels and max(grades, default=0) < 1:
            yield "the first stage found no relevant text for any query: check that both use the same ids"


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its expected results.

    :param text: The question.
    :param relevant: The ids of the texts that answer it, or those ids with grades.
    :param answers: Strings that answer it, for the measure "answer in context".
    :param id: Its id; None takes its place in the list, from 1.
    """

    text: str
    relevant: Iterable[str] | Mapping[str, int] = ()
    answers: Sequence[str] = ()
    id: str | None = None

    def grades(self) -> dict[str, int]:
        """Return the relevant texts with their grades, 1 where none were given."""
        if isinstance(self.relevant, str):
            raise InputError(f"relevant must be a list of ids, got one string: {self.relevant!r:.80}")
        graded = self.relevant if isinstance(self.relevant, Mapping) else dict.fromkeys(self.relevant, 1)
        return {str(key): int(grade) for key, grade in graded.items()}


def collect_candidates(
    questions: Iterable[Question], retrieve: Retrieve, *, depth: int = 100, name: str = "questions"
) -> Collection:
    """Ask the first stage every question once, and return its candidates as a collection.

    :param questions: The questions.
    :param retrieve: Called with a question's text and ``depth``; ``retrieve_with`` makes one of a framework's object.
    :param depth: How many candidates to ask for; more than that are cut off.
    :param name: The collection's name in results.
    :raises InputError: If a candidate has no id, one comes twice, or no question has an answer or a relevant text.
    """
    numbered = [(question.id or str(number), question) for number, question in enumerate(questions, start=1)]
    by_id = dict(numbered)
    if len(by_id) < len(numbered):
        raise InputError("questions must have ids of their own, or none, and one comes twice")
    run = {key: _best_first(retrieve(question.text, depth))[:depth] for key, question in by_id.items()}
    return Collection(
        name,
        queries={key: question.text for key, question in by_id.items()},
        corpus={str(item.id): item.text for candidates in run.values() for item in candidates},
        qrels={key: question.grades() for key, question in by_id.items()},
        run=run,
        answers={key: question.answers for key, question in by_id.items()},
    )


def retrieve_with(source: Any, *, name: IdSource = None) -> Retrieve:
    """Make a ``Retrieve`` of a LangChain vector store or retriever, a LlamaIndex retriever, or a Chroma collection.

    A vector store is asked for the evaluation's depth; a retriever returns as many as its own settings say
    (``search_kwargs`` with ``k``, ``similarity_top_k``), so set them to that depth. LangChain's stores return distances
    or similarities without saying which, so their numbers are left out; the order is what counts.

    :param source: The store or retriever.
    :param name: The source of a text's id: a metadata key, a function of the document or node, or None for its own id.
    :raises ConfigurationError: If the source is none of these.
    """
    if hasattr(source, "similarity_search"):
        return lambda query, k: [_from_document(item, name) for item in source.similarity_search(query, k=k)]
    if hasattr(source, "query") and hasattr(source, "upsert"):
        return lambda query, k: _from_chroma(source.query(query_texts=[query], n_results=k))
    if hasattr(source, "retrieve"):
        return lambda query, _k: [_from_node(item, name) for item in source.retrieve(query)]
    if hasattr(source, "invoke"):
        return lambda query, _k: [_from_document(item, name) for item in source.invoke(query)]
    raise ConfigurationError(
        "source must be a LangChain vector store or retriever, a LlamaIndex retriever (with similarity_search, invoke "
        f"or retrieve) or a Chroma collection, got {type(source).__name__}: write a function of "
        "(query, k) that returns Candidates"
    )


def _best_first(retrieved: Any) -> tuple[Candidate, ...]:
    """Sort by the candidates' own ranks, and number them anew, so that a cut leaves no gap."""
    candidates = as_candidates(retrieved)
    ranked = sorted(zip(first_stage_ranks(candidates), candidates, strict=True), key=lambda both: both[0])
    return tuple(replace(c, rank=rank, id=None if c.id is None else str(c.id)) for rank, c in ranked)


def _from_document(document: Any, name: IdSource) -> Candidate:
    return Candidate(document.page_content, id=_id(document, document.id, name))


def _from_chroma(found: Mapping[str, Any]) -> list[Candidate]:
    (ids,), (texts,) = found["ids"], found["documents"]
    return [Candidate(text, id=key) for key, text in zip(ids, texts, strict=True) if text]  # some hold vectors alone


def _from_node(scored: Any, name: IdSource) -> Candidate:
    node = scored.node
    text = node.get_content(metadata_mode="embed")  # what the LlamaIndex integration scores by default
    prompt_text = node.get_content(metadata_mode="llm")
    return Candidate(text, id=_id(node, node.node_id, name), score=scored.score, prompt_text=prompt_text)


def _id(item: Any, own: str | None, name: IdSource) -> str | None:
    key = own if name is None else item.metadata.get(name) if isinstance(name, str) else name(item)
    return None if key is None else str(key)


def _check_candidates(where: str, candidates: Sequence[Candidate], corpus: Mapping[str, str]) -> None:
    ids = [candidate.id for candidate in candidates if candidate.id is not None]
    if len(ids) < len(candidates):
        raise InputError(
            f"{where}: every candidate must have an id, and {len(candidates) - len(ids)} have none: give the store's "
            "documents ids, or retrieve_with(store, name=...) a metadata key"
        )
    _check_known(f"{where} must name texts of the corpus", ids, corpus)
    if len(set(ids)) < len(ids):
        twice = next(key for key in ids if ids.count(key) > 1)
        raise InputError(f"{where} must name each text once, and {twice!r} comes twice: rankings are measured by id")
    ranks = [candidate.rank for candidate in candidates if candidate.rank is not None]
    if len(ranks) == len(ids) and ranks != sorted(set(ranks)):
        raise InputError(f"{where} must be best first, and its ranks are {ranks[:5]}: sort it, or leave the ranks out")


def _check_known(rule: str, ids: Iterable[str], known: Mapping[str, object]) -> None:
    if unknown := [key for key in ids if key not in known]:
        raise InputError(
            f"{rule}: {len(unknown)} ids are unknown, such as {_examples(unknown)}, while there are {len(known)} such "
            f"as {_examples(known)}"
        )


def _examples(ids: Iterable[str]) -> str:
    return ", ".join(repr(key) for key in list(ids)[:2]) or "none"

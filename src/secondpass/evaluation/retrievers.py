"""Collections from the user's own vector store: questions with what they should find, asked through a callable.

LangChain's and LlamaIndex's objects are known by their methods; neither framework is imported here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from secondpass.candidates import Candidate, as_candidates, first_stage_ranks
from secondpass.errors import ConfigurationError, InputError
from secondpass.evaluation.collection import Collection

Retrieve = Callable[[str, int], Sequence[Candidate]]
"""From a question and a number to at most so many candidates, each with an id."""
Name = str | Callable[[Any], str | None]
"""How a framework's object is named: a key of its metadata, or a function of the object."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what should come of it.

    :param text: The question.
    :param relevant: The ids of the texts that answer it, or those ids with grades.
    :param answers: Strings that answer it, for the measure "answer in context".
    :param id: Its own name; None takes its place in the list.
    """

    text: str
    relevant: Iterable[str] | Mapping[str, int] = ()
    answers: Sequence[str] = field(default=())
    id: str | None = None

    def strings(self) -> tuple[str, ...]:
        """Return the answers.

        :raises InputError: If a string stands where a list of them must.
        """
        if isinstance(self.answers, str):
            raise InputError(f"answers must be a list of strings, got one string: {self.answers!r:.80}")
        return tuple(self.answers)

    def grades(self) -> dict[str, int]:
        """Return the relevant texts with their grades, 1 where none were given."""
        if isinstance(self.relevant, Mapping):
            return {str(key): int(grade) for key, grade in self.relevant.items()}
        if isinstance(self.relevant, str):
            raise InputError(f"relevant must be a list of ids, got one string: {self.relevant!r:.80}")
        return {str(key): 1 for key in self.relevant}


def ask(questions: Iterable[Question], retrieve: Retrieve, *, depth: int = 100, name: str = "questions") -> Collection:
    """Ask the first stage every question once, and return what it found as a collection.

    :param questions: The questions.
    :param retrieve: Called with a question's text and ``depth``; ``retrieve_with`` makes one of a framework's object.
    :param depth: How many candidates to ask for; more than that are cut off.
    :param name: What results call the collection.
    :raises InputError: If a candidate has no id, one comes twice, or no question has an answer or a relevant text.
    """
    asked = [(question.id or str(number), question) for number, question in enumerate(questions, start=1)]
    if len({key for key, _ in asked}) < len(asked):
        raise InputError("questions must have ids of their own, or none, and one comes twice")
    run = {key: _best_first(as_candidates(retrieve(question.text, depth)))[:depth] for key, question in asked}
    found = {str(candidate.id): candidate.text for candidates in run.values() for candidate in candidates}
    _check_ids(run)
    return Collection(
        name,
        {key: question.text for key, question in asked},
        found,
        {key: question.grades() for key, question in asked},
        run,
        {key: question.strings() for key, question in asked},
    )


def retrieve_with(source: Any, *, name: Name | None = None) -> Retrieve:
    """Make a ``Retrieve`` of a LangChain vector store or retriever, or of a LlamaIndex retriever.

    A vector store is asked for as many as are wanted; a retriever gives what its own settings say (``search_kwargs``
    with ``k``, ``similarity_top_k``), so set them to the depth of the evaluation. LangChain's stores give distances or
    similarities without saying which, so their numbers are left out; the order is what counts.

    :param source: The store or retriever.
    :param name: What the texts are called: a metadata key or a function of the document or node; None takes its id.
    :raises ConfigurationError: If it is none of these.
    """
    if hasattr(source, "similarity_search"):
        return lambda query, k: [_from_document(item, name) for item in source.similarity_search(query, k=k)]
    if hasattr(source, "retrieve"):
        return lambda query, _k: [_from_node(item, name) for item in source.retrieve(query)]
    if hasattr(source, "invoke"):
        return lambda query, _k: [_from_document(item, name) for item in source.invoke(query)]
    raise ConfigurationError(
        "source must be a LangChain vector store or retriever, or a LlamaIndex retriever (with similarity_search, "
        f"invoke or retrieve), got {type(source).__name__}: write a function of (query, k) that returns Candidates"
    )


def _best_first(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Sort by the ranks that came with the candidates, and number them anew, so that a cut leaves no gap."""
    ranked = zip(first_stage_ranks(candidates), candidates, strict=True)
    return tuple(
        replace(candidate, rank=rank, id=None if candidate.id is None else str(candidate.id))
        for rank, candidate in sorted(ranked, key=lambda both: both[0])
    )


def _from_document(document: Any, name: Name | None) -> Candidate:
    return Candidate(document.page_content, id=_named(document, document.metadata, document.id, name))


def _from_node(scored: Any, name: Name | None) -> Candidate:
    node = scored.node
    return Candidate(
        node.get_content(metadata_mode="embed"),  # what the LlamaIndex door's model reads, unless told otherwise
        id=_named(node, node.metadata, node.node_id, name),
        score=scored.score,
        prompt_text=node.get_content(metadata_mode="llm"),
    )


def _named(item: Any, metadata: Mapping[str, Any], own: str | None, name: Name | None) -> str | None:
    found = own if name is None else metadata.get(name) if isinstance(name, str) else name(item)
    return None if found is None else str(found)


def _check_ids(run: Mapping[str, Sequence[Candidate]]) -> None:
    unnamed = [(key, c) for key, candidates in run.items() for c in candidates if c.id is None]
    if unnamed:
        key, candidate = unnamed[0]
        raise InputError(
            f"every candidate must have an id, and {len(unnamed)} have none, such as {candidate.text!r:.60} for "
            f"question {key!r}: give the store's documents ids, or retrieve_with(store, name=...) a metadata key"
        )

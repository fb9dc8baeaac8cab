"""Extractive question answering: the best passage, its best window, and a citation by character offsets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from examples.common import passages
from secondpass import Candidate, Reranker, Selection
from secondpass.evaluation import Bm25Index
from secondpass.text import sentence_ends

QUESTIONS = (
    "what happens to the saved exception when finally executes a return statement?",
    "are the keys of a dictionary ordered?",
    "which objects are immutable sequences?",
)


@dataclass(frozen=True, slots=True)
class Citation:
    """The part of a text that answers a question.

    :param source: The text's id.
    :param start: Where the part begins in the text, in characters.
    :param end: Where it ends.
    :param text: The part.
    :param probability: The model's probability of relevance; None without a score.
    """

    source: str
    start: int
    end: int
    text: str
    probability: float | None


def windows(text: str, sentences: int = 2) -> list[tuple[int, int]]:
    """Return overlapping windows of so many sentences as character ranges; a short text is one window."""
    starts_and_ends = [*pairwise([0, *sentence_ends(text)])]
    last = max(1, len(starts_and_ends) - sentences + 1)
    return [
        (starts_and_ends[place][0], starts_and_ends[min(place + sentences, len(starts_and_ends)) - 1][1])
        for place in range(last)
        if starts_and_ends
    ]


class QuestionAnswering:
    """Retrieves with BM25, reranks passages, then the windows of the best of them.

    :param texts: The texts by id.
    :param model: The cross-encoder, for passages and windows alike.
    :param min_probability: Below it there is no answer.
    """

    def __init__(self, texts: Mapping[str, str], model: str = "small", min_probability: float = 0.02) -> None:
        self.texts, self._index = texts, Bm25Index(texts)
        self._passages = Reranker(model, selection=Selection(top_k=3, min_probability=min_probability))
        self._windows = Reranker(self._passages.scorer, selection=Selection(top_k=1, duplicates="keep"))

    def answer(self, question: str, depth: int = 30, sentences: int = 2) -> Citation | None:
        """Return the best window of the best passages, or None where no passage is relevant."""
        best = self._passages.rerank(question, self._index.search(question, depth))
        parts = [
            Candidate(kept.candidate.text[start:end], source=kept.candidate.id, payload=(start, end))
            for kept in best
            for start, end in windows(kept.candidate.text, sentences)
        ]
        if not parts:
            return None
        (window,) = self._windows.rerank(question, parts)
        start, end = window.candidate.payload  # type: ignore[misc]  # set above
        return Citation(str(window.candidate.source), start, end, window.text.strip(), window.probability)


def main(model: str = "small", topics: Sequence[str] = (), questions: Sequence[str] = QUESTIONS) -> None:
    """Print the answering window of each question with its citation."""
    system = QuestionAnswering(passages(topics), model)
    for question in questions:
        found = system.answer(question)
        print(f"Q: {question}")
        if found is None:
            print("A: no passage answers it")
            continue
        print(f"A: {' '.join(found.text.split())}")
        print(f"   [{found.source}, characters {found.start} to {found.end}, probability {found.probability:.3f}]")


if __name__ == "__main__":
    main()

"""Extractive question answering: the best windows of the best passage, cited by character offsets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from examples.common import passages
from secondpass import ContextBudget, Reranker, Selection, Windowed, Windows, load_scorer
from secondpass.evaluation import Bm25Index

QUESTIONS = (
    "what happens to the saved exception when finally executes a return statement?",
    "are the keys of a dictionary ordered?",
    "which objects are immutable sequences?",
)


@dataclass(frozen=True, slots=True)
class Citation:
    """The parts of a text that answer a question.

    :param source: The text's id.
    :param spans: Where the parts begin and end in the text, in characters.
    :param text: The parts.
    :param probability: The model's probability of relevance, of the best part; None without a score.
    """

    source: str
    spans: tuple[tuple[int, int], ...]
    text: str
    probability: float | None


class QuestionAnswering:
    """Retrieves with BM25, scores each passage by its best window, and answers with windows of the best one.

    :param texts: The texts by id.
    :param model: The cross-encoder.
    :param min_probability: Below it there is no answer, and no window is part of one.
    :param max_tokens: The size of an answer, estimated; no window is longer than half of it.
    """

    def __init__(
        self, texts: Mapping[str, str], model: str = "small", min_probability: float = 0.02, max_tokens: int = 96
    ) -> None:
        self.texts, self._index = texts, Bm25Index(texts)
        selection = Selection(
            top_n=1, min_probability=min_probability, budget=ContextBudget(max_tokens), policy="extract"
        )
        windows = Windows(max_tokens=max_tokens // 2, overlap=0)
        self._reranker = Reranker(Windowed(load_scorer(model), windows), selection=selection)

    def answer(self, question: str, depth: int = 30) -> Citation | None:
        """Return the best windows of the best passage, or None where no passage is relevant."""
        for kept in self._reranker.rerank(question, self._index.search(question, depth)):
            return Citation(str(kept.candidate.id), kept.spans, kept.text, kept.probability)
        return None


def main(model: str = "small", topics: Sequence[str] = (), questions: Sequence[str] = QUESTIONS) -> None:
    """Print the answering windows of each question with their citation."""
    system = QuestionAnswering(passages(topics), model)
    for question in questions:
        citation = system.answer(question)
        print(f"Q: {question}")
        if citation is None:
            print("A: no passage answers it")
            continue
        print(f"A: {' '.join(citation.text.split())}")
        ranges = ", ".join(f"{start} to {end}" for start, end in citation.spans)
        print(f"   [{citation.source}, characters {ranges}, probability {citation.probability:.3f}]")


if __name__ == "__main__":
    main()

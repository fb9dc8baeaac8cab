"""FAQ matching: the right entry for a customer's question, or "none of these"."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from examples.common import ChromaIndex, read_data
from secondpass.langchain import SecondPassRerank

THRESHOLDS = (0.02, 0.1, 0.3, 0.5, 0.8)
COSINES = (0.5, 0.55, 0.6, 0.65, 0.7)
SHOWN = ("how do I cancel my subscription", "why did you cancel my plan", "how do I cancel my flight")


class FaqMatcher:
    """Matches questions to entries; the model reads question and answer of each.

    :param entries: Records with id, question and answer.
    :param model: The cross-encoder.
    """

    def __init__(self, entries: Sequence[Mapping[str, str]], model: str = "small") -> None:
        self._entries = {entry["id"]: entry for entry in entries}
        texts = {key: f"{entry['question']} {entry['answer']}" for key, entry in self._entries.items()}
        self.index = ChromaIndex(texts)
        self._reranker = SecondPassRerank(model=model, top_n=1, score_text="{question} {answer}")

    def scores(self, asked: str) -> tuple[str | None, float, str | None, float]:
        """Return the cross-encoder's best entry and its probability, and the bi-encoder's best and its cosine."""
        nearest = self.index.search(asked, 10)
        if not nearest:
            return None, 0.0, None, 0.0
        fields: list[Mapping[str, Any]] = [self._entries[str(item.id)] for item in nearest]
        documents = [Document(entry["answer"], id=entry["id"], metadata=dict(entry)) for entry in fields]
        best = self._reranker.rank(documents, asked).kept[0]
        return best.candidate.id, best.probability or 0.0, nearest[0].id, nearest[0].score or 0.0

    def answer(self, asked: str, threshold: float = 0.1) -> str | None:
        """Return the answer of the best entry, or None: "none of these"."""
        key, probability, *_ = self.scores(asked)
        return self._entries[key]["answer"] if key and probability >= threshold else None


def main(model: str = "small", limit: int | None = None) -> None:
    """Print three answers, then how often each threshold is right, with and without the second pass."""
    data = read_data("faq.json")
    matcher = FaqMatcher(data["entries"], model)
    for asked in SHOWN:
        print(f"Q: {asked}\nA: {matcher.answer(asked) or 'None of these.'}")
    cases = [(expected, matcher.scores(asked)) for asked, expected in data["asked"][:limit]]
    known = [case for case in cases if case[0]]
    unknown = [case for case in cases if not case[0]]
    print(f"\n{len(known)} questions with an entry, {len(unknown)} without; right: the entry, or none")
    for name, place, thresholds in ((model, 0, THRESHOLDS), ("bi-encoder", 2, COSINES)):
        for threshold in thresholds:
            answered = sum(found[place] == key and found[place + 1] >= threshold for key, found in known)  # type: ignore[operator]
            wrong = sum(found[place] != key and found[place + 1] >= threshold for key, found in known)  # type: ignore[operator]
            refused = sum(found[place + 1] < threshold for _, found in unknown)  # type: ignore[operator]
            print(f"{name:11} from {threshold:4}: {answered:3} right, {wrong:2} wrong entry, {refused:3} rightly none")


if __name__ == "__main__":
    main()

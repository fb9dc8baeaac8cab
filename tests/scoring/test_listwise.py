"""Listwise scorers, which read all candidates in one context, and scorers that mark a text's relevant sentences."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from worlds import Scripted, count_words, texts

from secondpass import Call, Cascade, ContextBudget, ListScorer, Reranker, Selection, Windowed, Windows
from secondpass.errors import ScoringError
from secondpass.langchain import SecondPassRerank
from secondpass.ranking import Cause
from secondpass.records import LOGIT, Pair, Score, Scored, Spec, Unscored, Window
from secondpass.scorers.calibrated import Calibrated
from secondpass.scoring.scorer import Listwise, Scorer


class LongestFirst:
    """Scores each text by how many of the other candidates are shorter, which no pair alone can tell."""

    spec = Spec("longest", LOGIT, "longest")

    def __init__(self, lost: int = 0) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.lost = lost

    def score_list(self, query: str, texts: Sequence[str], *, call: Call | None = None) -> Scored:
        """Return one score for each text, but for the last ``lost`` ones."""
        self.asked.append((query, list(texts)))
        scores = [Score(float(sum(len(other) < len(text) for other in texts))) for text in texts]
        return Scored(tuple(scores[: len(scores) - self.lost]), self.spec)


def test_all_candidates_of_a_query_are_in_one_call() -> None:
    """A reranker takes an object with ``score_list``, and gives it every candidate of the query at once."""
    scorer = LongestFirst()
    assert isinstance(scorer, ListScorer)
    ranking = Reranker(scorer).rerank("query", ["aa", "a", "aaa"])
    assert texts(ranking) == ["aaa", "aa", "a"]
    assert scorer.asked == [("query", ["aa", "a", "aaa"])]


def test_each_query_has_its_own_call() -> None:
    """Pairs of several queries are grouped, and the outcomes are in the order of the pairs."""
    scorer = LongestFirst()
    pairs = [Pair("one", "aa"), Pair("two", "a"), Pair("one", "a")]
    outcomes = Listwise(scorer).score_pairs(pairs).outcomes
    assert [item.value for item in outcomes if isinstance(item, Score)] == [1.0, 0.0, 0.0]
    assert scorer.asked == [("one", ["aa", "a"]), ("two", ["a"])]


def test_its_scores_depend_on_the_other_candidates() -> None:
    """The specification says that texts compete, whatever the scorer's own says, so that nothing is cached."""
    assert not Listwise(LongestFirst()).spec.pointwise
    assert not Listwise(LongestFirst()).score_pairs([Pair("q", "a")]).by.pointwise


@pytest.mark.parametrize(
    "around", [partial(Windowed, windows=Windows(max_tokens=20)), Calibrated], ids=["Windowed", "Calibrated"]
)
def test_scorers_around_it_take_it_as_any_other(around: Callable[[Any], Scorer]) -> None:
    """A composed scorer takes an object with ``score_list``, and says that its texts compete."""
    scorer = around(LongestFirst())
    assert texts(Reranker(scorer).rerank("query", ["aa", "a", "aaa"])) == ["aaa", "aa", "a"]
    assert not scorer.spec.pointwise


def test_too_few_outcomes_are_a_failure() -> None:
    """A list that is too short raises in ``score_pairs``, and gives the first stage's order in a reranker."""
    with pytest.raises(ScoringError, match="longest was given 2 texts and returned 1 outcomes"):
        Listwise(LongestFirst(lost=1)).score_pairs([Pair("q", "a"), Pair("q", "b")])
    degraded = Reranker(LongestFirst(lost=1)).rerank("q", ["a", "bb"]).degraded
    assert degraded is not None
    assert degraded.cause is Cause.SCORER_FAILED


def test_after_the_deadline_the_other_queries_are_unscored() -> None:
    """No query is asked after the call's deadline."""
    scorer = LongestFirst()
    outcomes = Listwise(scorer).score_pairs([Pair("q", "a")], call=Call(deadline_ms=0)).outcomes
    assert [type(item) for item in outcomes] == [Unscored]
    assert scorer.asked == []


def test_it_can_be_the_second_stage_of_a_cascade() -> None:
    """A cascade gives a listwise scorer those that its first stage kept, in one context."""
    scorer = LongestFirst()
    cheap = Scripted({"aa": 3.0, "a": 2.0, "aaa": 1.0})
    Reranker(Cascade(cheap, scorer, keep=2)).rerank("query", ["aa", "a", "aaa"])  # type: ignore[arg-type]
    assert [sorted(given) for _, given in scorer.asked] == [["a", "aa"]]


def test_integrations_take_it_as_a_model() -> None:
    """``SecondPassRerank(model=...)`` takes a listwise scorer as it takes any other."""
    from langchain_core.documents import Document

    documents = [Document(page_content=text) for text in ("a", "aaa")]
    kept = SecondPassRerank(model=LongestFirst()).compress_documents(documents, "query")
    assert [document.page_content for document in kept] == ["aaa", "a"]


MASKED = {"Foxes dig dens. ": 2.0, "The market opens at nine. ": -2.0, "Foxes eat mice.": 1.0}


class Marking(Scripted):
    """Marks the sentences of a text, as a model with a sentence mask does."""

    @property
    def spec(self) -> Spec:
        return replace(super().spec, returns_spans=True)


def test_a_sentence_mask_feeds_extraction() -> None:
    """A scorer that marks sentences as its score's windows decides which of them ``extract`` keeps, in one pass."""
    text = "".join(MASKED)
    ends = [text.index(sentence) + len(sentence) for sentence in MASKED]
    spans = zip([0, *ends], ends, MASKED.values(), strict=False)
    windows = tuple(Window(start, end, value, LOGIT.probability(value)) for start, end, value in spans)
    scorer = Marking({text: Score(2.0, windows=windows)})
    budget = ContextBudget(max_tokens=8, counter=count_words)
    selection = Selection(budget=budget, policy="extract", min_probability=0.5)
    (kept,) = Reranker(scorer, selection=selection).rerank("what do foxes do?", [text]).kept
    assert kept.text == "Foxes dig dens. [...] Foxes eat mice."
    assert scorer.asked == [Pair("what do foxes do?", text)]

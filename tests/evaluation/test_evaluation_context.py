"""Answer in context: what counts as holding it, and what each way of filling the context keeps."""

from dataclasses import replace

import pytest
from evaluation_collections import CORPUS, QUICK, animals, no_progress
from hypothesis import given
from hypothesis import strategies as st
from worlds import Scripted, count_words

from secondpass import Reranker, Selection
from secondpass.evaluation import Collection
from secondpass.evaluation.context import Contexts, holds_any, normalise
from secondpass.evaluation.systems import name_systems, rerank_collection
from secondpass.records import Score

WORDS = replace(QUICK, counter=count_words, separator=" ")
WORSE = {"q1": ["dog", "moon", "fox"], "q2": ["dog", "bee", "whale"], "q3": ["dog", "moon"]}
"""A first stage that always begins with the dog."""
KNOWING = Scripted({CORPUS["fox"]: 9.0, CORPUS["whale"]: 8.0, CORPUS["moon"]: 7.0})


@pytest.mark.parametrize(
    ("answer", "text", "held"),
    [
        ("the Red Fox", "A red, fox!", True),
        ("5", "There were 15 of them.", False),
        ("5", "There were 5.", True),
        ("Paris", "a comparison", False),
        ("U.S.", "in the us army", True),
        ("six and a half", "Six and\n  half", True),
        ("北京", "他住在北京市", True),
        ("the", "over the hill", True),
        ("%", "ten percent", False),
        ("%", "10 %", True),
        ("308", "just 308 points", True),
        ("", "anything", False),
        ("Charles Darwin", "Charles Darwin's voyage", True),
        ("layer model", "a seven-layer model", True),
        ("seven-layer", "a seven-layer model", True),
        ("500", "a crowd of 3,500", False),
        ("1.5", "1.5 times", True),
        ("5", "1.5 times", False),
    ],
)
def test_answers_match_as_squad_has_it(answer: str, text: str, held: bool) -> None:
    """Case, blanks, punctuation and articles don't count; an answer must stand as a whole."""
    assert holds_any([answer])(text) is held


def test_any_answer_will_do() -> None:
    """Several answers are alternatives, and none at all is never held."""
    assert holds_any(["zebra", "fox"])("red fox")
    assert not holds_any([])("red fox")


@given(st.text(), st.text(), st.text())
def test_text_made_around_an_answer_holds_it(before: str, answer: str, after: str) -> None:
    """Whatever the answer, a text in which it stands between blanks holds it, unless it is blank."""
    assert holds_any([answer])(f"{before} {answer} {after}") is bool(answer.strip())


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    """A normalised text has single blanks and no article, and stays as it is."""
    once = normalise(text)
    assert once == " ".join(once.split())
    assert normalise(once) == once


def contexts(collection: Collection) -> Contexts:
    return Contexts(collection, WORDS)


def test_plain_top_n_stops_at_the_first_that_does_not_fit() -> None:
    """The first stage's context is its head, as long as it fits, and no later text jumps in."""
    filled = contexts(animals()).first_stage(5)
    assert filled.tokens == (5, 0, 5)  # "the lazy dog can eat"; the whale has 8 words; "the red fox is quick"
    assert filled.hits == (0.0, 0.0, 0.0)
    assert contexts(animals()).first_stage(8).hits == (0.0, 1.0, 0.0)


def test_rules_without_scores_skip_what_does_not_fit() -> None:
    """The second pass's own rules over the first stage's order: fill goes on, and drops duplicates."""
    filled = contexts(animals()).first_stage(5, Selection())
    assert filled.tokens == (5, 5, 5)
    assert contexts(animals()).first_stage(12, Selection(top_n=1)).tokens == (5, 8, 5)


def test_second_pass_fills_by_its_scores() -> None:
    """What the model ranks first is in the context, scored once however many budgets are asked."""
    collection = animals(run=WORSE)
    scorer = Scripted(KNOWING.script)
    (system,) = name_systems(scorer)
    results = rerank_collection(system, collection, no_progress)
    scored = len(scorer.asked)
    filled = [contexts(collection).second_pass(tokens, system, results) for tokens in (4, 6, 8, 100)]
    assert [way.hits for way in filled] == [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)]
    assert len(scorer.asked) == scored


def test_no_context_is_over_its_budget() -> None:
    """All three ways keep to the budget, by the same counter and separator."""
    collection = animals()
    (system,) = name_systems(Reranker(KNOWING, selection=Selection(policy="truncate")))
    results = rerank_collection(system, collection, no_progress)
    for tokens in range(1, 20):
        filled = contexts(collection)
        first_stage = (filled.first_stage(tokens), filled.first_stage(tokens, system.context_selection))
        ways = (*first_stage, filled.second_pass(tokens, system, results))
        assert max(max(way.tokens) for way in ways) <= tokens


def test_answers_are_looked_for_where_there_are_any() -> None:
    """With answers, the queries that have one count, and a relevant item without the answer is no hit."""
    collection = animals(answers={"q1": ["lazy dog"], "q2": ["zebra"]})
    filled = contexts(collection)
    assert len(filled) == 2
    assert filled.first_stage(5).hits == (1.0, 0.0)
    assert filled.first_stage(100).hits == (1.0, 0.0)


def test_grade_decides_what_is_relevant() -> None:
    """``relevant_from`` leaves out lower grades."""
    collection = animals()
    assert Contexts(collection, replace(WORDS, relevant_from=2)).first_stage(100).hits == (1.0, 0.0, 1.0)


def test_duplicate_of_a_relevant_text_is_as_good() -> None:
    """Where the rules drop the judged one of two equal texts, its words are in the context all the same."""
    collection = animals(
        corpus=CORPUS | {"copy": CORPUS["fox"]}, qrels={"q1": {"copy": 1}}, run={"q1": ["fox", "copy", "dog"]}
    )
    filled = contexts(collection)
    assert filled.first_stage(5).hits == filled.first_stage(100, Selection()).hits == (1.0,)


def test_threshold_and_top_n_of_a_reranker_hold_in_the_context() -> None:
    """A reranker fills by its own rules; only its budget is set anew."""
    collection = animals(run=WORSE)
    (system,) = name_systems(Reranker(KNOWING, selection=Selection(top_n=1)))
    results = rerank_collection(system, collection, no_progress)
    assert contexts(collection).second_pass(100, system, results).tokens == (5, 8, 6)


def test_a_reranker_that_extracts_is_evaluated_on_its_windows() -> None:
    """Windows are scored although the whole order is measured, and the context has extracts."""
    collection = animals(run=WORSE)
    (system,) = name_systems(Reranker(KNOWING, selection=Selection(policy="extract")))
    result, *_ = rerank_collection(system, collection, no_progress)
    assert all(item.outcome.windows for item in result.candidates if isinstance(item.outcome, Score))

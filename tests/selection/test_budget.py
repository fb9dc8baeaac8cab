"""The context budget: its settings, and how it writes what it counts."""

from pathlib import Path

import numpy as np
import pytest
from langchain_core.prompts import PromptTemplate
from worlds import count_words

from secondpass import Candidate, ContextBudget
from secondpass.errors import BudgetError
from secondpass.selection.budget import as_budget

FOX = Candidate("a red fox", id="fox", source="store")


@pytest.mark.parametrize(
    ("max_tokens", "said"),
    [
        (-1, "must be 0 or more, got -1"),
        (1.5, "max_tokens must be a whole number; got 1.5"),
        (True, "whole number"),
        ("9", "whole"),
    ],
)
def test_the_ceiling_is_a_whole_number_from_zero(max_tokens: object, said: str) -> None:
    """A negative or fractional ceiling is a BudgetError that shows it."""
    with pytest.raises(BudgetError, match=said):
        ContextBudget(max_tokens)  # type: ignore[arg-type]


def test_a_negative_ceiling_says_where_it_came_from() -> None:
    """The origin of a budget that someone computed is part of the complaint."""
    with pytest.raises(BudgetError, match=r"got -5 \(window 8 - output 13\)"):
        ContextBudget(-5, origin="window 8 - output 13")


def test_a_wrong_counter_is_found_at_once() -> None:
    """What can't count is refused when the budget is made, not at the first query."""
    with pytest.raises(BudgetError, match="a token counter must be"):
        ContextBudget(9, counter=3)


@pytest.mark.parametrize(
    "template",
    ["no field", "{0}", "{}", "{text}{1}", "{text", "{index}", "{id.foo}{text}", "{id[x]}{text}", "{text:.9}", None, 7],
    ids=repr,
)
def test_a_template_that_can_not_be_filled_is_refused(template: str) -> None:
    """A template must be a format string with ``{text}``, and name its fields without formats or attributes."""
    with pytest.raises(BudgetError, match="template"):
        ContextBudget(9, template=template)


def test_a_template_is_filled_with_what_a_candidate_has() -> None:
    """Text, place in the reading order, id and source can stand in a template."""
    budget = ContextBudget(99, template="[{index}] {source}/{id}: {text}")
    assert budget.render(2, FOX, "a red") == "[2] store/fox: a red"


def test_a_candidate_without_id_and_source_leaves_blanks() -> None:
    """What a candidate doesn't have is an empty string in the prompt, never the word None."""
    assert ContextBudget(99, template="{id}{source}|{text}").render(1, Candidate("x"), "x") == "|x"


def test_a_template_is_filled_with_metadata() -> None:
    """Any field of the metadata can stand in a template; a missing one and a None are empty."""
    budget = ContextBudget(99, template="{title} ({year}, {page}{missing}): {text}")
    candidate = Candidate("a red fox", metadata={"title": "Foxes", "year": 2020, "page": None})
    assert budget.render(1, candidate, "a red fox") == "Foxes (2020, ): a red fox"


def test_metadata_never_takes_the_place_of_the_text() -> None:
    """The names that every candidate has stand for them, whatever its metadata holds."""
    candidate = Candidate("fox", id="7", metadata={"text": "other", "index": 9, "id": "8"})
    assert ContextBudget(99, template="{index} {id}: {text}").render(1, candidate, "fox") == "1 7: fox"


def test_a_template_can_be_a_callable() -> None:
    """A chain's own way to write a document is called with the index, the kept text and the candidate."""
    budget = ContextBudget(99, template=lambda index, text, candidate: f"{index}/{candidate.source}/{text}")
    assert budget.join([(FOX, "a red"), (FOX, "fox")]) == "1/store/a red\n\n2/store/fox"


def test_a_callable_template_must_return_a_string() -> None:
    """What a callable returns goes into the prompt, and is a BudgetError where it isn't text."""
    budget = ContextBudget(99, template=lambda _index, _text, _candidate: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(BudgetError, match="must return a string, got None"):
        budget.render(1, FOX, "fox")


def test_braces_in_a_text_are_text() -> None:
    """A candidate that holds code is written as it is."""
    assert ContextBudget(99, template="<{text}>").render(1, FOX, "{index} {0} {{") == "<{index} {0} {{>"


def test_items_are_joined_as_the_prompt_holds_them() -> None:
    """Items are numbered in reading order and joined by the separator."""
    budget = ContextBudget(99, separator=" | ", template="{index}. {text}")
    assert budget.join([(FOX, "one"), (FOX, "two")]) == "1. one | 2. two"
    assert budget.join([]) == ""


def test_budgets_with_the_same_settings_are_equal() -> None:
    """A budget is a record: same settings, same budget."""
    assert ContextBudget(9, counter=None) == ContextBudget(9)


@pytest.mark.parametrize(
    "source",
    [7, ContextBudget(7), lambda _query: 7, lambda query: ContextBudget(len(query))],
    ids=["tokens", "record", "callable to tokens", "callable to a record"],
)
def test_every_form_of_a_budget_becomes_a_record(source: object) -> None:
    """Tokens, a record, or a callable of the query all come to the same budget."""
    assert as_budget(source, "red fox") == ContextBudget(7)  # type: ignore[arg-type]


def test_no_budget_stays_none() -> None:
    """None is no limit, also where a callable says so."""
    assert as_budget(None, "red fox") is None
    assert as_budget(lambda _query: None, "red fox") is None  # type: ignore[arg-type]


def test_what_is_no_budget_is_refused() -> None:
    """A budget that is none of the accepted forms is a BudgetError."""
    with pytest.raises(BudgetError, match="max_tokens must be a whole number; got 'lots'"):
        as_budget("lots", "red fox")  # type: ignore[arg-type]


def test_the_counter_is_reported() -> None:
    """``counting`` is the counter, with its name."""
    assert ContextBudget(9, counter=count_words).counting.name == "count_words"


def test_a_final_context_is_checked() -> None:
    """A context that later steps expanded beyond the budget raises; one within it gives its tokens."""
    budget = ContextBudget(3, counter=count_words)
    assert budget.check("one two three") == 3
    with pytest.raises(BudgetError, match="at most 3 tokens, and takes 4: expand documents before"):
        budget.check("one two three four")


def test_numpys_whole_numbers_are_whole_numbers() -> None:
    """A limit computed with numpy is taken as it is, and kept as Python's int."""
    budget = ContextBudget(np.int64(7))  # type: ignore[arg-type]
    assert budget == ContextBudget(7)
    assert type(budget.max_tokens) is int


def test_fields_that_no_candidate_has_are_known() -> None:
    """A misspelt field of the template is found; a field that some candidates lack is none."""
    budget = ContextBudget(9, template="{titel} {author} {source} {text}")
    rat = Candidate("a rat", metadata={"author": "Ann"})
    assert budget.blank_fields([FOX, rat]) == ["titel"]
    assert ContextBudget(9, template=lambda _index, text, _candidate: text).blank_fields([FOX]) == []


def test_metadata_stands_in_for_an_id_and_a_source_that_a_candidate_lacks() -> None:
    """``{id}`` and ``{source}`` are the candidate's own, else those of its metadata, of whatever type."""
    kept = {"id": 7, "source": Path("notes.md")}
    budget = ContextBudget(9, template="{id} {source}: {text}")
    assert budget.render(1, Candidate("a rat", metadata=kept), "a rat") == "7 notes.md: a rat"
    assert budget.render(1, Candidate("a rat", id="own", metadata=kept), "a rat") == "own notes.md: a rat"
    assert budget.blank_fields([Candidate("a rat")]) == ["id", "source"]


def test_a_document_prompt_without_the_text_is_refused() -> None:
    """A LangChain prompt that never writes the document would be counted as nothing."""
    with pytest.raises(BudgetError, match=r"must have the variable page_content, got \['text', 'title'\]"):
        ContextBudget(60, template=PromptTemplate.from_template("{title}: {text}"))  # type: ignore[arg-type]

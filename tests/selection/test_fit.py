"""Fitting candidates into a context budget, best first, and never a token more."""

from collections import Counter as Multiset

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import COUNTERS, readable_text, sentences
from worlds import count_words, judge, reasons

from secondpass import Candidate, ContextBudget
from secondpass.selection.fit import POLICIES, Policy, fit
from secondpass.selection.order import ORDERS, Order

# Best first: 3 words, 5 words in two sentences, 2 words.
FOX = "the red fox"
DOG = "Dogs sleep. Old dogs snore."
BEE = "two bees"


def budget(max_tokens: int) -> ContextBudget:
    return ContextBudget(max_tokens, counter=count_words)


@pytest.mark.parametrize(
    ("policy", "max_tokens", "context"),
    [
        ("fill", 10, [FOX, DOG, BEE]),  # 3 + 5 + 2
        ("fill", 9, [FOX, DOG]),
        ("fill", 7, [FOX, BEE]),  # 3, then not 5 but 2
        ("fill", 2, [BEE]),
        ("fill", 1, []),
        ("fill", 0, []),
        ("prefix", 7, [FOX]),  # stops at the dog
        ("prefix", 2, []),
        ("prefix", 10, [FOX, DOG, BEE]),
        ("truncate", 7, [FOX, "Dogs sleep."]),  # 3 + 2, and stops there
        ("truncate", 8, [FOX, DOG]),
        ("truncate", 4, [FOX]),  # neither two words of the dog nor of the bees fit into the one that is left
        ("truncate", 2, ["Dogs sleep."]),  # the fox is one sentence of 3 words and is skipped; the dog is cut to 2
        ("truncate", 0, []),
    ],
)
def test_policies_by_hand(policy: Policy, max_tokens: int, context: list[str]) -> None:
    """``fill`` skips and goes on, ``prefix`` stops, ``truncate`` cuts at a sentence end and stops."""
    state, _ = fit(judge(FOX, DOG, BEE), budget(max_tokens), policy, "relevance")
    assert [item.text for item in state.fitted] == context
    assert state.context() == "\n\n".join(context)


def test_the_figures_say_why_a_candidate_did_not_fit() -> None:
    """A dropped candidate has its tokens and what was left in its detail."""
    _, (dropped,) = fit(judge(FOX, DOG, BEE), budget(7), "fill", "relevance")
    assert reasons([dropped]) == {DOG: "over budget"}
    assert dropped.detail == "8 tokens joined, 7 allowed"


def test_after_a_stop_everything_is_over_budget() -> None:
    """What ``prefix`` and ``truncate`` no longer look at says so."""
    _, after_prefix = fit(judge(FOX, DOG, BEE), budget(7), "prefix", "relevance")
    _, after_cut = fit(judge(FOX, DOG, BEE), budget(7), "truncate", "relevance")
    assert after_prefix[-1].detail == "after the first that didn't fit"
    assert [item.detail for item in after_cut] == ["the budget was full"]


def test_separators_and_templates_count() -> None:
    """Two items of one word, written as ``item: word`` and joined by ``and then``, take 6 words, not 2."""
    room = ContextBudget(6, counter=count_words, separator=" and then ", template="item: {text}")
    fits, _ = fit(judge("fox", "dog"), room, "fill", "relevance")
    tight = ContextBudget(5, counter=count_words, separator=" and then ", template="item: {text}")
    too_much, _ = fit(judge("fox", "dog"), tight, "fill", "relevance")
    assert (fits.context(), fits.tokens) == ("item: fox and then item: dog", 6)
    assert (too_much.context(), too_much.tokens) == ("item: fox", 2)


def test_the_prompts_text_counts_not_the_scored_one() -> None:
    """A candidate whose prompt text is longer than its scored text is measured by what the reader sees."""
    small = Candidate("fox", prompt_text="a very long story about a fox")
    state, dropped = fit(judge(small, "dog"), budget(5), "fill", "relevance")
    assert state.context() == "dog"
    assert [item.candidate for item in dropped] == [small]


def test_a_cut_text_is_the_start_of_the_reading_text() -> None:
    """A cut keeps whole sentences from the start, without the blanks behind the last."""
    text = "One two. Three four.   Five six."
    state, _ = fit(judge(text), budget(5), "truncate", "relevance")
    assert [item.text for item in state.fitted] == ["One two. Three four."]


def test_a_huge_text_is_cut_at_a_sentence_end_too() -> None:
    """Of a text too long to look at as a whole, the sentence that the look broke off is never taken for a whole one."""
    text = "One. " + "x" * 400
    state, _ = fit(judge(text), ContextBudget(1, counter=lambda _text: 1), "truncate", "relevance")
    assert state.context() == "One."


def test_a_blank_text_that_does_not_fit_has_nothing_to_cut() -> None:
    """A prompt text of blanks alone has no sentence; it is over the budget like any other."""
    blank = Candidate("fox", prompt_text="   ")
    _, dropped = fit(judge(blank), ContextBudget(2, counter=len), "truncate", "relevance")
    assert reasons(dropped) == {"fox": "over budget"}


def test_a_text_far_too_long_is_refused_without_counting_it() -> None:
    """A text of millions of characters isn't tokenised to learn that it doesn't fit in five tokens."""
    longest = 0

    def count(text: str) -> int:
        nonlocal longest
        longest = max(longest, len(text))
        return count_words(text)

    huge = "word " * 1_000_000
    state, _ = fit(judge(huge, FOX), ContextBudget(5, counter=count), "fill", "relevance")
    assert state.context() == FOX
    assert longest < 10_000


def test_the_reading_order_is_what_is_counted() -> None:
    """With the best at both ends, the joined text is in that order, and so is its numbering."""
    room = ContextBudget(99, counter=count_words, separator=" ", template="{index}:{text}")
    state, _ = fit(judge("a", "b", "c", "d"), room, "fill", "ends")
    assert state.context() == "1:a 2:c 3:d 4:b"


worlds = st.lists(st.one_of(readable_text, sentences), max_size=6)


@pytest.mark.parametrize("name", COUNTERS)
@given(
    texts=worlds,
    max_tokens=st.integers(0, 40),
    separator=st.sampled_from(["\n\n", "", " | ", "\n"]),
    template=st.sampled_from(["{text}", "[{index}] {text}\n", "{text} {text}"]),
    policy=st.sampled_from(POLICIES),
    order=st.sampled_from(ORDERS),
)
def test_the_context_never_exceeds_the_budget(
    name: str, texts: list[str], max_tokens: int, separator: str, template: str, policy: Policy, order: Order
) -> None:
    """Whatever the texts, the layout and the counter's temper, the joined text stays within the ceiling."""
    room = ContextBudget(max_tokens, counter=COUNTERS[name], separator=separator, template=template)
    state, _ = fit(judge(*texts), room, policy, order)
    context = room.join([(item.judged.candidate, item.text) for item in state.in_reading_order()])
    assert context == state.context()
    assert not state.fitted or room.counting.count(context) == state.tokens <= max_tokens


@pytest.mark.parametrize("policy", POLICIES)
@given(texts=worlds, max_tokens=st.integers(0, 40), name=st.sampled_from(list(COUNTERS)))
def test_nothing_is_lost(policy: Policy, texts: list[str], max_tokens: int, name: str) -> None:
    """Every candidate is in or dropped, once."""
    judged = judge(*texts)
    state, dropped = fit(judged, ContextBudget(max_tokens, counter=COUNTERS[name]), policy, "relevance")
    came_out = [id(item.judged.candidate) for item in state.fitted] + [id(item.candidate) for item in dropped]
    assert Multiset(came_out) == Multiset(id(item.candidate) for item in judged)


@given(texts=worlds, max_tokens=st.integers(0, 40))
def test_what_is_read_is_the_start_of_what_was_found(texts: list[str], max_tokens: int) -> None:
    """No policy invents a word: each text is the candidate's own, from its first character."""
    state, _ = fit(judge(*texts), budget(max_tokens), "truncate", "relevance")
    assert all(item.judged.candidate.reading.startswith(item.text) for item in state.fitted)


@given(texts=worlds, max_tokens=st.integers(0, 40))
def test_fill_keeps_at_least_what_prefix_keeps(texts: list[str], max_tokens: int) -> None:
    """What stops at the first that doesn't fit is the beginning of what goes on."""
    judged = judge(*texts)
    prefix, _ = fit(judged, budget(max_tokens), "prefix", "relevance")
    fill, _ = fit(judged, budget(max_tokens), "fill", "relevance")
    assert fill.fitted[: len(prefix.fitted)] == prefix.fitted

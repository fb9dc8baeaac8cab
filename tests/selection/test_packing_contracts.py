"""Contracts of packing: within the budget by any counter, in linear time, without losing a candidate."""

from collections import Counter as Multiset

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import COUNTERS, Counter, readable_text, sentences
from worlds import count_words, judge

from secondpass import Candidate, ContextBudget
from secondpass.selection.attempts import MAX_ATTEMPTS
from secondpass.selection.cutting import MAX_PROBES
from secondpass.selection.order import ORDERS, Order
from secondpass.selection.packing import POLICIES, Policy, pack
from secondpass.selection.tokens import estimate_tokens


class Recorder:
    """A counter that keeps the texts that it is given."""

    def __init__(self, count: Counter) -> None:
        self.count = count
        self.given: list[str] = []

    def __call__(self, text: str) -> int:
        self.given.append(text)
        return self.count(text)


PASSAGES = [f"Passage {number} begins here. " + "And so it goes on. " * 35 for number in range(100)]  # 180 words each


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("max_tokens", [500, 5_000, 17_000, 32_000])
def test_counting_is_linear(max_tokens: int, policy: Policy) -> None:
    """Each candidate is counted once, and the joined text once more where counts add up."""
    count = Recorder(count_words)
    pack(judge(*PASSAGES), ContextBudget(max_tokens, counter=count), policy)
    assert sum(map(len, count.given)) < 2.5 * sum(map(len, PASSAGES))
    assert len(count.given) < len(PASSAGES) + 20


@pytest.mark.parametrize("name", COUNTERS)
@pytest.mark.parametrize("max_tokens", [500, 5_000, 17_000, 32_000])
@pytest.mark.parametrize("policy", POLICIES)
def test_counting_is_linear_for_any_counter(policy: Policy, max_tokens: int, name: str) -> None:
    """Where joined texts take more or fewer tokens than their parts, only so many of them are counted."""
    count = Recorder(COUNTERS[name] or estimate_tokens)
    pack(judge(*PASSAGES), ContextBudget(max_tokens, counter=count), policy)
    longest = max(map(len, PASSAGES))
    joined = [text for text in count.given if len(text) > longest]
    cuts = MAX_ATTEMPTS * MAX_PROBES if policy in ("truncate", "extract") else 0
    assert len(joined) <= MAX_ATTEMPTS + 1
    times = 2 if policy == "extract" else 1  # first as windows; then to be cut, where none of them fits
    assert len(count.given) - len(joined) <= times * len(PASSAGES) + MAX_ATTEMPTS + cuts
    assert sum(map(len, count.given)) < (MAX_ATTEMPTS + 2) * sum(map(len, PASSAGES))


def test_counting_a_text_that_is_cut_is_linear() -> None:
    """A text of a hundred times the budget is counted once, and beginnings of it a few times."""
    count = Recorder(count_words)
    text = " ".join(PASSAGES)
    packed = pack(judge(text), ContextBudget(180, counter=count), "truncate")
    assert packed.tokens > 170
    assert sum(map(len, count.given)) < 1.5 * len(text)


def test_a_text_far_too_long_is_refused_without_counting_it() -> None:
    """A text of millions of characters isn't tokenised to learn that it doesn't fit in five tokens."""
    count = Recorder(count_words)
    packed = pack(judge("word " * 1_000_000, "the red fox"), ContextBudget(5, counter=count))
    assert packed.context == "the red fox"
    assert max(map(len, count.given)) < 10_000


worlds = st.lists(st.one_of(readable_text, sentences), max_size=6)
layouts = {
    "separator": st.sampled_from(["\n\n", "", " | ", "\n"]),
    "template": st.sampled_from(["{text}", "[{index}] {text}\n", "{text} {text}"]),
}
sizes = st.integers(0, 40)


@pytest.mark.parametrize("name", COUNTERS)
@given(
    texts=worlds,
    max_tokens=sizes,
    **layouts,
    policy=st.sampled_from(POLICIES),
    order=st.sampled_from(ORDERS),
)
def test_the_context_never_exceeds_the_budget(
    name: str, texts: list[str], max_tokens: int, separator: str, template: str, policy: Policy, order: Order
) -> None:
    """Whatever the texts, the layout and the counter's rule, the joined text stays within the budget."""
    layout = ContextBudget(max_tokens, counter=COUNTERS[name], separator=separator, template=template)
    packed = pack(judge(*texts), layout, policy, order)
    assert packed.context == layout.join([(item.candidate, item.text) for item in packed.kept])
    assert not packed.kept or layout.counting.count(packed.context) == packed.tokens <= max_tokens


@pytest.mark.parametrize("name", COUNTERS)
@given(texts=worlds, max_tokens=sizes, **layouts, policy=st.sampled_from(["fill", "truncate"]))
def test_a_candidate_that_fits_alone_leaves_no_empty_context(
    name: str, texts: list[str], max_tokens: int, separator: str, template: str, policy: Policy
) -> None:
    """Whatever the counter's rule, something is kept where a candidate by itself is within the budget."""
    layout = ContextBudget(max_tokens, counter=COUNTERS[name], separator=separator, template=template)
    judged = judge(*texts)
    alone = [layout.counting.count(layout.join([(item.candidate, item.candidate.reading)])) for item in judged]
    assert pack(judged, layout, policy).kept or all(tokens > max_tokens for tokens in alone)


@pytest.mark.parametrize("name", ["words", "characters", "bytes", "constant overhead of 3"])
@given(texts=worlds, max_tokens=sizes, **layouts)
def test_nothing_that_fits_is_left_out_where_counts_add_up(
    name: str, texts: list[str], max_tokens: int, separator: str, template: str
) -> None:
    """The choice is that of counting the joined text for each candidate anew."""
    layout = ContextBudget(max_tokens, counter=COUNTERS[name], separator=separator, template=template)
    expected: list[tuple[Candidate, str]] = []
    for item in judge(*texts):
        more = [*expected, (item.candidate, item.candidate.reading)]
        expected = more if layout.counting.count(layout.join(more)) <= max_tokens else expected
    assert pack(judge(*texts), layout).context == layout.join(expected)


@pytest.mark.parametrize("policy", POLICIES)
@given(texts=worlds, max_tokens=sizes, name=st.sampled_from(list(COUNTERS)))
def test_nothing_is_lost(policy: Policy, texts: list[str], max_tokens: int, name: str) -> None:
    """Every candidate is kept or dropped, once."""
    judged = judge(*texts)
    packed = pack(judged, ContextBudget(max_tokens, counter=COUNTERS[name]), policy)
    came_out = [id(item.candidate) for item in (*packed.kept, *packed.dropped)]
    assert Multiset(came_out) == Multiset(id(item.candidate) for item in judged)


@given(texts=worlds, max_tokens=sizes)
def test_a_kept_text_is_the_beginning_of_the_candidates(texts: list[str], max_tokens: int) -> None:
    """No policy invents a word: each text is the candidate's own, from its first character."""
    kept = pack(judge(*texts), ContextBudget(max_tokens, counter=count_words), "truncate").kept
    assert all(item.candidate.reading.startswith(item.text) for item in kept)


@given(texts=worlds, max_tokens=sizes)
def test_fill_keeps_at_least_what_prefix_keeps(texts: list[str], max_tokens: int) -> None:
    """What stops at the first that doesn't fit is the beginning of what goes on."""
    prefix, fill = (
        pack(judge(*texts), ContextBudget(max_tokens, counter=count_words), policy).kept
        for policy in ("prefix", "fill")
    )
    assert fill[: len(prefix)] == prefix

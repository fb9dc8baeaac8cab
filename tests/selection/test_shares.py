"""Several retrievers that share one budget by stated parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import COUNTERS
from worlds import count_words, judge, texts

from secondpass import Candidate, ContextBudget, Reason, Selection
from secondpass.errors import BudgetError
from secondpass.selection.packing import POLICIES, Policy
from secondpass.selection.select import Selected, select


def of(source: str | None, *sizes: int) -> list[Candidate]:
    """Return candidates of a source with texts of so many words."""
    return [Candidate(" ".join([f"{source}{number}"] * size), source=source) for number, size in enumerate(sizes)]


def chosen(candidates: list[Candidate], tokens: int, shares: dict[str, float], **settings: object) -> Selected:
    """Return the selection among candidates, best first."""
    budget = ContextBudget(tokens, counter=count_words, shares=shares)
    return select(judge(*candidates), Selection(budget=budget, **settings))  # type: ignore[arg-type]


def used(selected: Selected, source: str | None) -> int:
    """Return the words that a source takes."""
    return sum(item.tokens or 0 for item in selected.kept if item.candidate.source == source)


def test_each_source_has_its_share() -> None:
    """Ten words at 0.6 and 0.4: the better documents fill six, and four are left for the tickets."""
    selected = chosen([*of("docs", 2, 2, 2, 2), *of("tickets", 2, 2, 2)], 10, {"docs": 0.6, "tickets": 0.4})
    assert (used(selected, "docs"), used(selected, "tickets")) == (6, 4)
    assert selected.facts["tokens_by_source"] == "docs 6, tickets 4"


def test_an_unused_share_goes_to_the_others() -> None:
    """Where there is one short ticket, the documents take what it leaves."""
    selected = chosen([*of("docs", 2, 2, 2, 2, 2), *of("tickets", 1)], 10, {"docs": 0.6, "tickets": 0.4})
    assert (used(selected, "docs"), used(selected, "tickets")) == (8, 1)


def test_sources_without_a_share_take_what_is_left() -> None:
    """A source that isn't named, or none, is packed after the shares, by relevance."""
    selected = chosen([*of(None, 3), *of("web", 3), *of("docs", 4)], 8, {"docs": 0.5})
    assert (used(selected, None), used(selected, "web"), used(selected, "docs")) == (3, 0, 4)


def test_the_reading_order_and_the_ranks_stay_by_relevance() -> None:
    """Shares decide what is kept, not where it stands."""
    selected = chosen([*of(None, 3), *of("docs", 4)], 8, {"docs": 0.5})
    assert texts(selected.kept) == ["None0 None0 None0", "docs0 docs0 docs0 docs0"]
    assert [item.rank for item in selected.kept] == [1, 2]


@pytest.mark.parametrize("policy", ["prefix", "truncate"])
def test_a_source_waits_with_its_weaker_ones(policy: Policy) -> None:
    """Where a policy stops at what doesn't fit, a source's share isn't filled with weaker candidates past it."""
    selected = chosen([*of("docs", 5, 1), *of("tickets", 2)], 6, {"docs": 0.5, "tickets": 0.5}, policy=policy)
    assert "docs1" not in selected.context


sizes = st.lists(st.tuples(st.sampled_from(["docs", "tickets", "web", None]), st.integers(1, 9)), max_size=9)
shares = st.sampled_from([{"docs": 0.6, "tickets": 0.4}, {"docs": 0.3}, {"docs": 0.2, "tickets": 0.2, "web": 0.6}])


@given(sizes=sizes, shares=shares, tokens=st.integers(0, 30), diversity=st.sampled_from([0.0, 0.5]))
def test_a_source_is_only_left_out_where_its_share_is_full(
    sizes: list[tuple[str | None, int]], shares: dict[str, float], tokens: int, diversity: float
) -> None:
    """What is over budget fits neither its source's share nor what all sources leave; the total is never exceeded."""
    candidates = [Candidate(" ".join([f"{source}{n}"] * size), source=source) for n, (source, size) in enumerate(sizes)]
    selected = chosen(candidates, tokens, shares, diversity=diversity)
    total = sum(item.tokens or 0 for item in selected.kept)
    assert total <= tokens
    for item in selected.dropped:
        assert item.reason is Reason.OVER_BUDGET
        size, source = count_words(item.candidate.text), item.candidate.source
        assert size > tokens - total
        assert used(selected, source) + size > int(shares.get(source or "", 0) * tokens)


@pytest.mark.parametrize("name", COUNTERS)
@given(
    sizes=sizes,
    shares=shares,
    tokens=st.integers(0, 30),
    policy=st.sampled_from([policy for policy in POLICIES if policy != "extract"]),
)
def test_the_total_holds_for_any_counter(
    name: str, sizes: list[tuple[str | None, int]], shares: dict[str, float], tokens: int, policy: Policy
) -> None:
    """However joined texts are counted, all sources together stay within the budget."""
    budget = ContextBudget(tokens, counter=COUNTERS[name], shares=shares, separator=" | ")
    candidates = [Candidate("word " * size + str(n), source=source) for n, (source, size) in enumerate(sizes)]
    selected = select(judge(*candidates), Selection(budget=budget, policy=policy))
    assert not selected.kept or budget.counting.count(selected.context) <= tokens


@pytest.mark.parametrize("shares", [{"docs": 0.7, "tickets": 0.4}, {"docs": 0}, {"docs": -0.1}, {"docs": "half"}])
def test_shares_must_be_parts_of_the_budget(shares: dict[str, float]) -> None:
    """Shares of more than the whole, of nothing, or that are no numbers, are refused."""
    with pytest.raises(
        BudgetError, match="shares must be parts of the budget by source, above 0 and together at most 1"
    ):
        ContextBudget(100, shares=shares)

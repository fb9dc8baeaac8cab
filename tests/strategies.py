"""Hypothesis strategies for what the road is given: awkward texts, candidates and selections."""

from hypothesis import strategies as st

from secondpass.candidates import Candidate
from secondpass.selection.budget import ContextBudget
from secondpass.selection.order import ORDERS
from secondpass.selection.select import Selection

AWKWARD = (
    "",
    " ",
    "\n\t  \r\n",
    "\x00",
    "a\x00b",
    "\ud800",
    "half \udfff of a pair.",
    "Dr. Who came. He left! Why? No.",
    "First line.\r\n\r\nSecond line.",
    "Это первое. Это второе.",
    "第一句。第二句!",
    "e\u0301 \U0001f9d1\u200d\U0001f680 \u202eright to left",
    "word " * 60,
)


def texts(max_size: int = 60) -> st.SearchStrategy[str]:
    """Any string at all: empty ones, blanks, NUL, lone surrogates, several scripts, and sentences."""
    anything = st.text(st.characters(codec=None), max_size=max_size)
    sentences = st.lists(st.sampled_from(("One two three.", "Why?", "Mr. X said no!", "\n", "  ", "und so weiter")))
    return st.one_of(st.sampled_from(AWKWARD), anything, st.text("ab .\n", max_size=max_size), sentences.map(" ".join))


def readable_texts() -> st.SearchStrategy[str]:
    """Texts that hold more than blanks."""
    return texts().filter(str.strip)


def numbers() -> st.SearchStrategy[float | None]:
    """First-stage scores as stores give them, missing and useless ones included."""
    return st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from((float("nan"), float("inf"), 0.0, -0.0)))


def candidates() -> st.SearchStrategy[Candidate]:
    """Candidates with any of their fields filled or left out."""
    return st.builds(
        Candidate,
        text=texts(),
        id=st.none() | st.sampled_from(("a", "b", "c")),
        score=numbers(),
        rank=st.none() | st.integers(1, 20),
        signals=st.dictionaries(st.sampled_from(("bm25", "recency")), numbers()),
        source=st.none() | st.sampled_from(("dense", "sparse")),
        prompt_text=st.none() | texts(),
        payload=st.none() | st.integers(),
    )


def budgets() -> st.SearchStrategy[ContextBudget]:
    """Small budgets, counted in words, with several separators and templates."""
    return st.builds(
        ContextBudget,
        max_tokens=st.integers(0, 25),
        counter=st.just(str.split),
        separator=st.sampled_from(("\n\n", "", " --- ")),
        template=st.sampled_from(("{text}", "[{index}] {text}", "{source} {id}: {text} {{end}}")),
    )


def selections() -> st.SearchStrategy[Selection]:
    """Selections with any combination of settings."""
    return st.builds(
        Selection,
        top_k=st.none() | st.integers(1, 5),
        min_probability=st.none() | st.floats(0, 1),
        min_keep=st.integers(0, 3),
        budget=st.none() | budgets(),
        policy=st.sampled_from(("fill", "prefix", "truncate")),
        duplicates=st.sampled_from(("exact", "keep")),
        order=st.sampled_from(ORDERS),
    )

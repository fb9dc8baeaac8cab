"""Counting the LLM's tokens, with its own tokenizer or with a safe estimate."""

import argparse
import heapq
import inspect
import operator
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_text
from tiny_models import tiny_tokenizer
from token_kinds import kinds
from tokenizers import Tokenizer

from secondpass.errors import BudgetError
from secondpass.selection.tokens import ESTIMATE, TokenCounter, as_counter, estimate_tokens
from secondpass.text import well_formed

TEXT = "the red fox jump"  # four words of the tiny vocabulary


@pytest.fixture(scope="session")
def tiktoken_encoding() -> Callable[[str], Any]:
    """Return what opens an OpenAI encoding without a network: llama-index carries two of them in its wheel."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken isn't installed")
    core = pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
    cache = Path(core.__file__).parent / "_static" / "tiktoken_cache"

    def open_encoding(name: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
            return tiktoken.get_encoding(name)

    return open_encoding


def test_a_tiktoken_encoding_counts_its_tokens(tiktoken_encoding: Callable[[str], Any]) -> None:
    """An OpenAI encoding is taken as it is, and reported by name as exact."""
    encoding = tiktoken_encoding("o200k_base")
    counter = as_counter(encoding)
    assert counter.count("tiktoken is great!") == len(encoding.encode("tiktoken is great!")) == 6
    assert (counter.name, counter.exact) == ("tiktoken o200k_base", True)


def test_special_tokens_in_a_text_are_ordinary_text(tiktoken_encoding: Callable[[str], Any]) -> None:
    """A candidate that quotes ``<|endoftext|>`` is counted and raises nothing."""
    encoding = tiktoken_encoding("cl100k_base")
    assert as_counter(encoding).count("<|endoftext|>") > 1
    assert as_counter(encoding.encode).count("<|endoftext|>") == as_counter(encoding).count("<|endoftext|>")


def test_padding_set_on_a_tokenizer_does_not_count() -> None:
    """A tokenizers tokenizer that pads to 512 counts the text's own four tokens."""
    tokenizer = tiny_tokenizer()
    tokenizer.enable_padding(length=512)
    assert len(tokenizer.encode(TEXT).ids) == 512
    assert as_counter(tokenizer).count(TEXT) == 4


def test_truncation_set_on_a_tokenizer_does_not_count() -> None:
    """A tokenizers tokenizer that truncates to 8 counts all of a longer text."""
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(8)
    assert as_counter(tokenizer).count(TEXT * 25) == 100 - 24  # "jumpthe" is one word, 24 times


def test_the_callers_tokenizer_is_left_as_it_was() -> None:
    """Counting works on a copy: padding and truncation stay set on the caller's own tokenizer."""
    tokenizer = tiny_tokenizer()
    tokenizer.enable_padding(length=512)
    tokenizer.enable_truncation(100)
    before = tokenizer.to_str()
    as_counter(tokenizer).count(TEXT)
    assert tokenizer.to_str() == before


def test_the_real_files_padding_does_not_count(published_folder: Path) -> None:
    """The tokenizer file that pads everything to 512 counts a four-word text as four tokens."""
    tokenizer = Tokenizer.from_file(str(published_folder / "tokenizer.json"))
    assert as_counter(tokenizer).count("the red fox runs") == 4


def test_a_transformers_tokenizer_counts_without_special_tokens() -> None:
    """Transformers' tokenizers count the text's own tokens, whatever padding their backend has set."""
    transformers = pytest.importorskip("transformers", reason="the extra torch isn't installed")
    backend = tiny_tokenizer()
    backend.enable_padding(length=512)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")
    counter = as_counter(tokenizer)
    assert (counter.count(TEXT), counter.exact) == (4, True)


def test_a_transformers_tokenizer_without_a_backend_is_asked_itself() -> None:
    """A tokenizer written in Python is called with special tokens and truncation switched off."""

    class Slow:
        name_or_path = "slow"

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [str(number) for number in ids]

        def encode(self, text: str, *, add_special_tokens: bool = True, truncation: bool = True) -> list[int]:
            ids = list(range(len(text.split())))[: 2 if truncation else None]
            return [101, *ids, 102] if add_special_tokens else ids

    counter = as_counter(Slow())
    assert (counter.count(TEXT), counter.name) == (4, "transformers slow")


def split_words(text: str) -> list[str]:
    return text.split()


def number_of_words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("function", [split_words, number_of_words])
def test_any_callable_counts(function: Callable[[str], Any]) -> None:
    """A callable may return the tokens or their number; it is reported by its name, and not as exact."""
    counter = as_counter(function)
    assert (counter.count(TEXT), counter.name, counter.exact) == (4, function.__name__, False)


@pytest.mark.parametrize(("exact", "reported"), [(True, True), (False, False), ("yes", False), (None, False)])
def test_a_callable_is_exact_where_it_says_so(exact: object, reported: bool) -> None:
    """An attribute ``exact`` that is True, and nothing else, makes a callable's counts exact."""

    class Server:
        def __call__(self, text: str) -> int:
            return len(text.split())

    counter = Server()
    counter.exact = exact  # type: ignore[attr-defined]
    assert as_counter(counter).exact is reported


def test_a_counter_made_by_hand_is_taken_as_it_is() -> None:
    """A ``TokenCounter`` says itself whether it is exact."""
    counter = TokenCounter("server", exact=True, function=number_of_words)
    assert as_counter(counter) is counter


@pytest.mark.parametrize(
    "returned",
    [None, 1.5, -1, {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1]}],
    ids=["None", "a fraction", "a negative number", "what calling a transformers tokenizer returns"],
)
def test_a_callable_that_returns_no_count_is_refused(returned: object) -> None:
    """What is neither a number of tokens nor the tokens is a BudgetError that shows it."""
    with pytest.raises(BudgetError, match=f"or the tokens, got {re.escape(str(returned))}"):
        as_counter(lambda _text: returned).count(TEXT)


def test_what_can_not_count_is_refused() -> None:
    """A model's name is no counter."""
    with pytest.raises(BudgetError, match=r"must be a tiktoken encoding, .* got str"):
        as_counter("gpt-5")


def test_a_counter_is_given_text_that_it_can_encode() -> None:
    """A lone surrogate reaches the counter as a question mark."""
    given_texts: list[str] = []
    as_counter(lambda text: given_texts.append(text) or 0).count("half \ud83d")  # type: ignore[func-returns-value]
    assert given_texts == ["half ?"]


def test_without_a_counter_the_estimate_counts() -> None:
    """None gives the estimate, which says that it is one."""
    assert as_counter(None) is ESTIMATE
    assert (ESTIMATE.name, ESTIMATE.exact) == ("estimate", False)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("fox", 1),
        ("lake", 4),  # a word, and three pairs of letters that count as seldom joined
        ("of", 1),
        ("the fox.", 3),
        ("FORD", 2),  # half a token more for four capitals
        ("getFox", 3),  # a capital starts a word, and takes half a token more
        ("句子", 5),  # two and a half each
        ("\u0561\u0562", 4),  # Armenian: a token for each byte
        ("a 17", 4),  # a blank before a digit takes a token
        ("a" + " " * 32 + "in", 5),  # a run of blanks takes one, and one for each sixteen
        ("a\nin", 3),
    ],
)
def test_the_estimate_by_hand(text: str, tokens: int) -> None:
    """The estimate counts words, pairs of letters, marks, blanks and bytes as the module's tables say."""
    assert estimate_tokens(text) == tokens


SAMPLES = {
    "English prose": textwrap.dedent(
        """The flea's life cycle has four stages: egg, larva, pupa and adult. A female flea lays about twenty eggs
        a day, which fall off the animal and hatch within two weeks. Larvae avoid light; they live in carpets, in
        cracks of the floor and in bedding, and feed on organic debris. In 2019, 43.5% of all households that were
        surveyed reported at least one infestation. Nevertheless, responsibility for extraordinarily uncharacteristic
        outbreaks remains controversial, according to internationally recognised epidemiologists.""",
    ),
    "English with names and figures": (
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers. "
        "Call +1 (555) 010-9999 or write to info@example.com before 2024-03-17T08:30:00Z; see https://example.com/a/b?c=d."
    ),
    "code, argparse": inspect.getsource(argparse),
    "code, heapq": inspect.getsource(heapq),
    "German": "Die Geschwindigkeitsbegrenzung auf Bundesautobahnen wird in Deutschland seit Jahrzehnten diskutiert; "
    "Rechtsschutzversicherungsgesellschaften äußern sich überwiegend zurückhaltend, während Umweltverbände drängen.",
    "Russian": "Достопримечательности города привлекают путешественников со всего мира, несмотря на холодную зиму. "
    "Исследователи утверждают, что население увеличилось на двенадцать процентов.",
    "Chinese": "柏林是德国的首都,也是该国人口最多的城市。二〇一九年,常住人口超过三百六十万,面积约八百九十二平方公里。",
    "Hindi": "भारत की राजधानी नई दिल्ली है और यहाँ की जनसंख्या लगातार बढ़ रही है। शोधकर्ताओं के अनुसार यह प्रवृत्ति जारी रहेगी।",
}


KINDS = {name: [text] for name, text in SAMPLES.items()} | kinds()


@pytest.fixture(scope="module", params=["cl100k_base", "o200k_base", "word pieces"])
def tokenizer(
    request: pytest.FixtureRequest, tiktoken_encoding: Callable[[str], Any], reranker_folder: Path
) -> TokenCounter:
    """Return OpenAI's encodings and BERT's word pieces."""
    if request.param == "word pieces":
        return as_counter(Tokenizer.from_file(str(reranker_folder / "tokenizer.json")))
    return as_counter(tiktoken_encoding(request.param))


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_on_the_safe_side(kind: str, tokenizer: TokenCounter) -> None:
    """On every kind of text, lists of short strings among them, the estimate is at least the true count."""
    assert sum(map(estimate_tokens, KINDS[kind])) >= sum(map(tokenizer.count, KINDS[kind]))


@pytest.mark.parametrize("name", ["English prose", "code, argparse", "code, heapq"])
def test_the_estimate_is_not_wasteful(name: str, tiktoken_encoding: Callable[[str], Any]) -> None:
    """On English prose and on code the estimate is at most twice the true count."""
    true = len(tiktoken_encoding("o200k_base").encode_ordinary(SAMPLES[name]))
    assert estimate_tokens(SAMPLES[name]) <= 2 * true


any_texts = st.one_of(any_text, st.text("thqTQ7. \n", max_size=60)).map(well_formed)


@given(text=any_texts)
def test_the_estimate_counts_any_text(text: str) -> None:
    """Any text but the empty one has at least one token."""
    assert estimate_tokens(text) >= min(len(text), 1)


@given(first=any_texts, second=st.builds(operator.mul, any_texts, st.integers(1, 50)))
def test_the_estimate_of_a_joined_text(first: str, second: str) -> None:
    """A text that goes on never has a lower estimate, and a joined one at most four tokens more than its parts."""
    joined = estimate_tokens(first + second)
    assert estimate_tokens(first) <= joined <= estimate_tokens(first) + estimate_tokens(second) + 4


@given(text=any_texts, times=st.integers(1, 50))
def test_the_estimate_grows_in_proportion(text: str, times: int) -> None:
    """A text repeated has at most its own estimate, and four tokens for the joint, each time."""
    assert estimate_tokens(text * times) <= (estimate_tokens(text) + 4) * times

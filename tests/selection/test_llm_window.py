"""The budget that an LLM's context window leaves: window - output - prompt - question - history."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from worlds import count_words

from secondpass import ContextBudget
from secondpass.errors import BudgetError
from secondpass.selection.llm_window import MESSAGE_OVERHEAD


@dataclass
class ChatModel:
    """Looks like a LangChain chat model: a profile, and the length of its answers."""

    profile: dict[str, Any] | None = None
    max_tokens: int | None = None


@dataclass
class Metadata:
    context_window: int | None = 100
    num_output: int = 20


@dataclass
class Llm:
    """Looks like a LlamaIndex LLM."""

    metadata: Metadata = field(default_factory=Metadata)


def test_every_part_of_the_prompt_is_taken_off() -> None:
    """100 - 20 for the answer - (3 + 4) - (2 + 4) - (1 + 4) leaves 62; each message takes 4 for its marks."""
    budget = ContextBudget.for_llm(
        Llm(), prompt="you are helpful", question="which fox", history=["hello"], counter=count_words
    )
    assert MESSAGE_OVERHEAD == 4
    assert budget.max_tokens == 100 - 20 - 7 - 6 - 5
    assert budget.origin == "window 100 - output 20 - prompt 7 - question 6 - history 5 (tokens by count_words)"


def test_an_empty_prompt_takes_nothing() -> None:
    """Parts that aren't there cost no message marks."""
    assert ContextBudget.for_llm(Llm(), counter=count_words).max_tokens == 100 - 20


def test_the_reserve_takes_the_place_of_what_the_llm_states() -> None:
    """``reserve`` is what is kept free for the answer, 0 included."""
    assert ContextBudget.for_llm(Llm(), reserve=30).max_tokens == 100 - 30
    assert ContextBudget.for_llm(Llm(), reserve=0).max_tokens == 100


def test_a_langchain_profile_states_the_window() -> None:
    """A chat model's profile has the window, its ``max_tokens`` the length of its answers."""
    model = ChatModel(profile={"max_input_tokens": 1000}, max_tokens=200)
    assert ContextBudget.for_llm(model).max_tokens == 1000 - 200


def test_the_layout_is_handed_on() -> None:
    """Separator and template come to the budget as in its constructor."""
    budget = ContextBudget.for_llm(Llm(), separator="\n", template="- {text}")
    assert (budget.separator, budget.template) == ("\n", "- {text}")


@pytest.mark.parametrize(
    "llm",
    [
        ChatModel(),
        ChatModel(profile={}),
        ChatModel(profile={"max_input_tokens": None}),
        Llm(Metadata(context_window=None)),
        Llm(Metadata(context_window=0)),
        object(),
    ],
    ids=["no profile", "empty profile", "profile without a window", "no window", "window of 0", "no LLM at all"],
)
def test_an_unknown_window_is_an_error(llm: object) -> None:
    """An LLM that doesn't state its window is never given a guessed one."""
    with pytest.raises(BudgetError, match="doesn't state its context window"):
        ContextBudget.for_llm(llm, reserve=10)


@pytest.mark.parametrize(
    "llm",
    [ChatModel(profile={"max_input_tokens": 1000}), Llm(Metadata(num_output=-1))],
    ids=["chat model without max_tokens", "num_output of -1"],
)
def test_an_unknown_length_of_answers_is_an_error(llm: object) -> None:
    """Without a stated length of answers, the caller must say what to keep free."""
    with pytest.raises(BudgetError, match="give reserve="):
        ContextBudget.for_llm(llm)


def test_a_negative_reserve_is_an_error() -> None:
    """Fewer than 0 tokens can't be kept free."""
    with pytest.raises(BudgetError, match="reserve must be a whole number of tokens from 0, got -1"):
        ContextBudget.for_llm(Llm(), reserve=-1)


@pytest.mark.parametrize(("words", "left"), [(76, 0), (80, -4)], ids=["nothing", "less than nothing"])
def test_nothing_left_is_an_error(words: int, left: int) -> None:
    """A prompt that fills the window raises, with the sum that shows why."""
    with pytest.raises(BudgetError, match=rf"window 100 - output 20 - prompt {words + 4} .* = {left}"):
        ContextBudget.for_llm(Llm(), prompt="word " * words, counter=count_words)


def test_one_token_left_is_a_budget() -> None:
    """The smallest budget that a window leaves is one token."""
    assert ContextBudget.for_llm(Llm(), prompt="word " * 75, counter=count_words).max_tokens == 1


def test_a_real_langchain_model_with_a_profile() -> None:
    """LangChain's own chat model gives its window through its profile."""
    models = pytest.importorskip("langchain_core.language_models", reason="the extra langchain isn't installed")
    model = models.FakeListChatModel(responses=["yes"], profile={"max_input_tokens": 4096})
    assert ContextBudget.for_llm(model, reserve=96).max_tokens == 4000


def test_a_real_langchain_model_without_a_profile() -> None:
    """LangChain's models that state no profile are an error, not a guess."""
    models = pytest.importorskip("langchain_core.language_models", reason="the extra langchain isn't installed")
    with pytest.raises(BudgetError, match="GenericFakeChatModel doesn't state its context window"):
        ContextBudget.for_llm(models.GenericFakeChatModel(messages=iter([])), reserve=96)


def test_a_real_llama_index_llm() -> None:
    """LlamaIndex's own LLM gives window and length of answers through its metadata; its synthesizer takes more."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    llm = llms.MockLLM(max_tokens=900)
    window = llm.metadata.context_window
    assert ContextBudget.for_llm(llm, synthesizer=False).max_tokens == window - 900
    assert ContextBudget.for_llm(llm).max_tokens < window - 900 - 500


def test_a_real_llama_index_llm_that_does_not_state_its_answers() -> None:
    """LlamaIndex says -1 where it doesn't know, which is never subtracted."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    with pytest.raises(BudgetError, match=r"MockLLM doesn't state how long its answers may get \(got -1\)"):
        ContextBudget.for_llm(llms.MockLLM())

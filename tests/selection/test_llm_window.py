"""The budget that an LLM's context window leaves: window - output - prompt - question - history."""

from dataclasses import dataclass, field
from types import SimpleNamespace
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
    assert budget.origin == "window 100 - output 20 - prompt 7 - question 6 - history 5, count_words tokens"


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
    """Nobody can keep less than nothing free."""
    with pytest.raises(BudgetError, match="reserve must be a whole number of tokens from 0, got -1"):
        ContextBudget.for_llm(Llm(), reserve=-1)


@pytest.mark.parametrize(("words", "left"), [(76, 0), (80, -4)], ids=["nothing", "less than nothing"])
def test_nothing_left_is_an_error(words: int, left: int) -> None:
    """A prompt that fills the window raises, with the sum that shows why."""
    with pytest.raises(BudgetError, match=rf"window 100 - output 20 - prompt {words + 4} .* leaves {left} tokens"):
        ContextBudget.for_llm(Llm(), prompt="word " * words, counter=count_words)


def test_one_token_left_is_a_budget() -> None:
    """The smallest budget that a window leaves is one token."""
    assert ContextBudget.for_llm(Llm(), prompt="word " * 75, counter=count_words).max_tokens == 1


@pytest.mark.parametrize(
    ("history", "taken"),
    [
        ("one two", 2 + 4),
        (["one two", "three"], 2 + 4 + 1 + 4),
        ([], 0),
        (None, 0),
    ],
    ids=["one string", "strings", "empty", "None"],
)
def test_history_as_strings(history: object, taken: int) -> None:
    """A string is one message, a list as many as it has."""
    assert ContextBudget.for_llm(Llm(), history=history, counter=count_words).max_tokens == 80 - taken


def test_history_as_langchain_messages() -> None:
    """A message counts by its text, also where its content is a list of blocks."""
    messages = pytest.importorskip("langchain_core.messages", reason="the extra langchain isn't installed")
    history = [
        messages.HumanMessage("one two"),
        messages.AIMessage([{"type": "text", "text": "three four"}, "five"]),
    ]
    assert ContextBudget.for_llm(Llm(), history=history, counter=count_words).max_tokens == 80 - (2 + 4) - (3 + 4)


def test_history_as_llama_index_messages() -> None:
    """A chat message counts by its text, also where it is made of blocks or is empty."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    history = [
        llms.ChatMessage("one two"),
        llms.ChatMessage(blocks=[llms.TextBlock(text="three four"), llms.TextBlock(text="five")]),
        llms.ChatMessage(content=None),
    ]
    budget = ContextBudget.for_llm(Llm(), history=history, counter=count_words)
    assert budget.max_tokens == 80 - (2 + 4) - (3 + 4) - (0 + 4)


def test_a_single_message_is_a_history_of_one() -> None:
    """One message instead of a list counts as what it says."""
    messages = pytest.importorskip("langchain_core.messages", reason="the extra langchain isn't installed")
    budget = ContextBudget.for_llm(Llm(), history=messages.HumanMessage("one two"), counter=count_words)
    assert budget.max_tokens == 80 - (2 + 4)


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
    """LlamaIndex's own LLM gives window and length of answers through its metadata."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    llm = llms.MockLLM(max_tokens=900)
    assert ContextBudget.for_llm(llm).max_tokens == llm.metadata.context_window - 900


def test_a_real_llama_index_llm_that_does_not_state_its_answers() -> None:
    """LlamaIndex says -1 where it doesn't know, which is never subtracted."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    with pytest.raises(BudgetError, match=r"MockLLM doesn't state how long its answers may get \(got -1\)"):
        ContextBudget.for_llm(llms.MockLLM())


def test_tool_calls_in_the_history_count() -> None:
    """A message that only calls a tool takes room as well."""
    from langchain_core.messages import AIMessage

    call = {"name": "search", "args": {"words": "many words " * 50}, "id": "1"}
    plain, calling = (
        ContextBudget.for_llm(
            SimpleNamespace(profile={"max_input_tokens": 1000}), reserve=100, history=[message], counter=count_words
        )
        for message in (AIMessage(""), AIMessage("", tool_calls=[call]))
    )
    assert plain.max_tokens - calling.max_tokens >= 100


def test_an_image_in_the_history_is_no_guess() -> None:
    """A block whose tokens can't be counted is an error that says what to do."""
    from langchain_core.messages import HumanMessage

    message = HumanMessage(content=[{"type": "image_url", "image_url": {"url": "data:..."}}])
    with pytest.raises(BudgetError, match="image_url"):
        ContextBudget.for_llm(SimpleNamespace(profile={"max_input_tokens": 1000}), reserve=100, history=[message])


def taken(**parts: object) -> int:
    """Return the tokens that parts of a prompt take of a window."""
    return 80 - ContextBudget.for_llm(Llm(), counter=count_words, **parts).max_tokens  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ({"role": "user", "content": "one two"}, 2 + 4),
        ({"role": "user", "content": [{"type": "text", "text": "one two"}]}, 2 + 4),
        ({"role": "assistant", "content": None, "tool_calls": ["call it"]}, 2 + 4),
        (("human", "one two"), 3 + 4),
    ],
    ids=["text", "blocks", "tool call", "a role and a text"],
)
def test_messages_as_dicts_and_pairs(message: object, tokens: int) -> None:
    """A dict counts by its content and its tool calls, and a pair by its text and its role."""
    assert taken(history=[message]) == tokens


def test_a_single_dict_is_one_message() -> None:
    """A dict instead of a list is a message, not a list of its keys."""
    assert taken(history={"role": "user", "content": "one two"}) == 2 + 4


def test_a_langchain_chat_history_counts_by_its_messages() -> None:
    """What holds ``messages`` counts as the list of them."""
    history = pytest.importorskip("langchain_core.chat_history", reason="the extra langchain isn't installed")
    messages = pytest.importorskip("langchain_core.messages")

    class Stored(history.BaseChatMessageHistory):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.messages = [messages.HumanMessage("one two"), messages.AIMessage("three")]

        def clear(self) -> None: ...

    assert taken(history=Stored()) == (2 + 4) + (1 + 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("as_messages", "tokens"), [(True, (2 + 4) + (1 + 4)), (False, 5 + 4)])
def test_a_langchain_memory_counts_by_what_it_puts_into_the_prompt(as_messages: bool, tokens: int) -> None:
    """A memory of LangChain's older kind gives messages, or one text with a name before each: 5 words here."""
    memory = pytest.importorskip("langchain_classic.memory", reason="langchain-classic isn't installed")
    filled = memory.ConversationBufferMemory(return_messages=as_messages)
    filled.save_context({"question": "one two"}, {"answer": "three"})
    assert taken(history=filled) == tokens


def test_a_llama_index_memory_counts_by_its_messages() -> None:
    """A memory counts by the messages that ``get`` returns, which is what a chat engine puts into the prompt."""
    core = pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
    memory = core.memory.ChatMemoryBuffer.from_defaults(token_limit=3000)
    memory.put(core.llms.ChatMessage("one two"))
    assert taken(history=memory) == 2 + 4


def test_a_llama_index_chat_store_counts_by_its_conversation() -> None:
    """A store of one conversation is that conversation; of several, the caller says which."""
    core = pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
    store = core.storage.chat_store.SimpleChatStore()
    assert taken(history=store) == 0
    store.add_message("first", core.llms.ChatMessage("one two"))
    assert taken(history=store) == 2 + 4
    store.add_message("second", core.llms.ChatMessage("three"))
    with pytest.raises(BudgetError, match=r"holds 2 conversations: give that of one, store.get_messages\(key\)"):
        taken(history=store)


def test_a_langchain_prompt_template_counts_without_its_variables() -> None:
    """A template counts by its own words, each message with its marks; placeholders of messages take nothing."""
    prompts = pytest.importorskip("langchain_core.prompts", reason="the extra langchain isn't installed")
    chat = prompts.ChatPromptTemplate.from_messages(
        [
            ("system", "You are {role} and helpful."),
            prompts.MessagesPlaceholder("history"),
            prompts.MessagesPlaceholder("examples", optional=True),
            ("human", "Question: {question}"),
        ]
    )
    assert taken(prompt=chat) == (4 + 4) + (1 + 4)
    assert taken(prompt=chat.partial(role="a fox")) == (6 + 4) + (1 + 4)
    assert taken(prompt=prompts.PromptTemplate.from_template("Answer {question} from {context}")) == 2 + 4
    assert taken(prompt=prompts.HumanMessagePromptTemplate.from_template("Answer {question}")) == 1 + 4
    assert taken(prompt=chat.invoke({"role": "a", "history": [], "question": "b"})) == (5 + 4) + (2 + 4)


def test_a_llama_index_prompt_template_counts_without_its_variables() -> None:
    """LlamaIndex's templates count by their own words too, whatever language they are written in."""
    prompts = pytest.importorskip("llama_index.core.prompts", reason="the extra llama-index isn't installed")
    llms = pytest.importorskip("llama_index.core.llms")
    chat = prompts.ChatPromptTemplate(
        [llms.ChatMessage("You are {role} and helpful.", role="system"), llms.ChatMessage("Question: {query_str}")]
    )
    assert taken(prompt=chat) == (4 + 4) + (1 + 4)
    assert taken(prompt=prompts.PromptTemplate("Answer {query_str} from {context_str}")) == 2 + 4
    assert taken(prompt=prompts.RichPromptTemplate("Answer {{ query }} from {{ context }}")) == 2 + 4


def test_an_image_in_a_llama_index_message_is_no_guess() -> None:
    """An image block is an error in LlamaIndex's messages as in LangChain's."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    message = llms.ChatMessage(blocks=[llms.TextBlock(text="see"), llms.ImageBlock(url="https://example.com/a.png")])
    with pytest.raises(BudgetError, match="block of type 'image'"):
        taken(history=[message])


@pytest.mark.parametrize("part", [7, {"role": "user"}, [3], [["one"]], {"history": ["one"]}], ids=repr)
@pytest.mark.parametrize("name", ["prompt", "question", "history"])
def test_what_can_not_be_counted_is_refused(name: str, part: object) -> None:
    """A part in no form that has a text is an error that lists the forms."""
    with pytest.raises(BudgetError, match=r"must be strings, messages .* got"):
        taken(**{name: part})

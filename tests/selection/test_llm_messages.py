"""What the parts of a prompt take of an LLM's window: strings, messages, prompt templates and memories."""

from types import SimpleNamespace

import pytest
from worlds import count_words

from secondpass import ContextBudget
from secondpass.errors import BudgetError

LLM = SimpleNamespace(metadata=SimpleNamespace(context_window=1000, num_output=100))


def taken(**parts: object) -> int:
    """Return the tokens that parts of a prompt take of a window: its words, and 4 for the marks of each message."""
    return 900 - ContextBudget.for_llm(LLM, counter=count_words, **parts).max_tokens  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("history", "tokens"),
    [
        ("one two", 2 + 4),
        (["one two", "three"], 2 + 4 + 1 + 4),
        ([], 0),
        (None, 0),
    ],
    ids=["one string", "strings", "empty", "None"],
)
def test_history_as_strings(history: object, tokens: int) -> None:
    """A string is one message, a list as many as it has."""
    assert taken(history=history) == tokens


def test_history_as_langchain_messages() -> None:
    """A message counts by its text, also where its content is a list of blocks."""
    messages = pytest.importorskip("langchain_core.messages", reason="the extra langchain isn't installed")
    history = [
        messages.HumanMessage("one two"),
        messages.AIMessage([{"type": "text", "text": "three four"}, "five"]),
    ]
    assert taken(history=history) == (2 + 4) + (3 + 4)


def test_history_as_llama_index_messages() -> None:
    """A chat message counts by its text, also where it is made of blocks or is empty."""
    llms = pytest.importorskip("llama_index.core.llms", reason="the extra llama-index isn't installed")
    history = [
        llms.ChatMessage("one two"),
        llms.ChatMessage(blocks=[llms.TextBlock(text="three four"), llms.TextBlock(text="five")]),
        llms.ChatMessage(content=None),
    ]
    assert taken(history=history) == (2 + 4) + (3 + 4) + (0 + 4)


def test_a_single_message_is_a_history_of_one() -> None:
    """One message instead of a list counts as what it says."""
    messages = pytest.importorskip("langchain_core.messages", reason="the extra langchain isn't installed")
    assert taken(history=messages.HumanMessage("one two")) == 2 + 4


def test_tool_calls_in_the_history_count() -> None:
    """A message that only calls a tool takes tokens as well."""
    messages = pytest.importorskip("langchain_core.messages", reason="the extra langchain isn't installed")
    call = {"name": "search", "args": {"words": "many words " * 50}, "id": "1"}
    plain, calling = messages.AIMessage(""), messages.AIMessage("", tool_calls=[call])
    assert taken(history=[calling]) - taken(history=[plain]) >= 100


def test_an_image_in_the_history_is_no_guess() -> None:
    """A block whose tokens can't be counted is an error that says what to do."""
    messages = pytest.importorskip("langchain_core.messages", reason="the extra langchain isn't installed")
    message = messages.HumanMessage(content=[{"type": "image_url", "image_url": {"url": "data:..."}}])
    with pytest.raises(BudgetError, match="image_url"):
        taken(history=[message])


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

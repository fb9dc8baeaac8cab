"""The context window of an LLM, and the tokens of it that are left for the context."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from secondpass.errors import BudgetError
from secondpass.selection.tokens import TokenCounter

MESSAGE_OVERHEAD = 4
"""Tokens that a chat format adds to each message for its role and its marks (OpenAI's chat format takes 3 to 4)."""

_UNCOUNTABLE = ("image", "audio", "video", "file", "input_audio", "document")


class ContextWindow(NamedTuple):
    """The size of an LLM's context window, and the tokens of it that are reserved for the answer."""

    size: int
    reserve: int


def subtract_tokens(available: int, parts: Mapping[str, Any], counter: TokenCounter, name: str) -> tuple[int, str]:
    """Return the tokens that parts of the prompt leave of those available, and that sum as text.

    :param available: The tokens without the parts.
    :param parts: By name: strings, messages, prompt templates or memories.
    :param counter: Counts the parts.
    :param name: What ``available`` consists of, as text.
    :raises BudgetError: If a part can't be counted.
    """
    taken = {part: part_tokens(content, counter) for part, content in parts.items()}
    left = available - sum(taken.values())
    sums = "".join(f" - {part} {tokens}" for part, tokens in taken.items())
    return left, f"{name}{sums} (tokens by {counter.name})"


def read_window(llm: object, reserve: int | None) -> ContextWindow:
    """Read the window from a LlamaIndex LLM's ``metadata`` or a LangChain chat model's ``profile``.

    :raises BudgetError: If the LLM doesn't state its window, or neither it nor the caller states the reserve.
    """
    metadata: Any = getattr(llm, "metadata", None)
    if hasattr(metadata, "context_window"):
        size, stated = metadata.context_window, metadata.num_output
    else:
        profile = getattr(llm, "profile", None) or {}
        size, stated = profile.get("max_input_tokens"), getattr(llm, "max_tokens", None)
    if not _positive(size):
        raise BudgetError(
            f"{type(llm).__name__} doesn't state its context window (a LangChain model in profile['max_input_tokens'], "
            f"a LlamaIndex LLM in metadata.context_window), got {size!r}: give ContextBudget(max_tokens=...) instead"
        )
    if reserve is None and not _positive(stated):
        raise BudgetError(
            f"{type(llm).__name__} doesn't state how long its answers may get (got {stated!r}): "
            "give reserve=..., the tokens to keep free for the answer"
        )
    if reserve is not None and not (isinstance(reserve, int) and reserve >= 0):
        raise BudgetError(f"reserve must be a whole number of tokens from 0, got {reserve!r}")
    return ContextWindow(int(size), int(stated if reserve is None else reserve))


class Synthesizer(NamedTuple):
    """What LlamaIndex's response synthesizer keeps free in the window, besides the answer and the prompt.

    :param padding: Tokens.
    :param refine: The prompt for which it keeps space in each call, where that is longer than the call's own.
    :param output: The tokens that it keeps for the answer.
    """

    padding: int
    refine: object
    output: int


def read_synthesizer(llm: Any) -> Synthesizer | None:
    """Return what LlamaIndex's default synthesizer keeps free for one of its LLMs; None for another framework's."""
    if not any(base.__module__.startswith("llama_index.") for base in type(llm).__mro__):
        return None
    from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
    from llama_index.core.prompts.default_prompt_selectors import DEFAULT_REFINE_PROMPT_SEL
    from llama_index.core.response_synthesizers import refine as synthesizer

    output = llm.metadata.num_output
    refine = DEFAULT_REFINE_PROMPT_SEL.select(llm=llm)
    padding = getattr(synthesizer, "DEFAULT_RESPONSE_PADDING_SIZE", 5)  # 5 in versions that have no such constant
    return Synthesizer(padding, refine, output if _positive(output) else DEFAULT_NUM_OUTPUTS)


def _positive(number: object) -> bool:
    return isinstance(number, int) and number > 0


def part_tokens(part: object, counter: TokenCounter) -> int:
    """Return the tokens of a part of the prompt, or of a whole prompt, with those of each message's marks.

    :raises BudgetError: If it can't be counted.
    """
    return sum(counter.count(_message_text(message)) + MESSAGE_OVERHEAD for message in _messages(part))


def _messages(part: Any) -> Sequence[object]:
    """Return a part of the prompt as its messages: strings, or either framework's messages.

    :raises BudgetError: If it is in none of the forms that can be counted.
    """
    if part is None or (isinstance(part, str) and not part):
        return []
    if isinstance(part, str | Mapping) or hasattr(part, "content"):
        return [part]
    names = {*dir(part)}  # hasattr would read a property, and the messages of a database twice
    if hasattr(part, "input_variables") or hasattr(part, "template_vars"):
        return _template_messages(part)
    for methods, messages in _FROM_OBJECT.items():
        if all(method in names for method in methods):
            return messages(part)
    try:
        return list(part)
    except TypeError:
        raise _uncountable(part) from None


def _template_messages(template: Any) -> Sequence[object]:
    """Fill a prompt template with nothing: LangChain's or LlamaIndex's, of a string or of a chat."""
    if hasattr(template, "template_vars"):
        blank: dict[str, object] = dict.fromkeys(template.template_vars, "")
    else:
        lists = getattr(template, "input_types", {})  # the variables that stand for messages
        blank = {name: [] if name in lists else "" for name in template.input_variables}
    if hasattr(template, "format_messages"):
        return list(template.format_messages(**blank))
    return list(template.format_prompt(**blank).to_messages())


def _store_messages(store: Any) -> Sequence[object]:
    keys = store.get_keys()
    if len(keys) > 1:
        raise BudgetError(f"the chat store holds {len(keys)} conversations: give that of one, store.get_messages(key)")
    return [message for key in keys for message in store.get_messages(key)]


_FROM_OBJECT: Mapping[tuple[str, ...], Callable[[Any], Sequence[object]]] = {
    ("to_messages",): lambda value: value.to_messages(),  # LangChain's prompt values
    ("messages",): lambda history: history.messages,  # LangChain's chat histories
    ("load_memory_variables",): lambda memory: [
        message for value in memory.load_memory_variables({}).values() for message in _messages(value)
    ],  # LangChain's older memories
    ("get_keys", "get_messages"): _store_messages,  # LlamaIndex's chat stores
    ("get", "get_all", "put"): lambda memory: memory.get(),  # LlamaIndex's memories
}


def _message_text(message: Any) -> str:
    """Return what a message says, with its blocks and its tool calls.

    :param message: A string, a dict with ``content``, a (role, text) pair, or either framework's message.
    :raises BudgetError: If it is none of these, or a block is an image or the like.
    """
    if isinstance(message, str):
        return message
    if isinstance(message, tuple):
        return "\n".join(map(_block_text, message))
    if isinstance(message, Mapping) and "content" in message:
        content, calls = message["content"], message.get("tool_calls")
    elif hasattr(message, "content"):
        content, calls = getattr(message, "blocks", message.content), getattr(message, "tool_calls", None)
    else:
        raise _uncountable(message)
    parts = content if isinstance(content, list | tuple) else [content]
    return "\n".join([*map(_block_text, parts), *([str(calls)] if calls else [])])


def _block_text(block: Any) -> str:
    if block is None or isinstance(block, str):
        return block or ""
    kind = block.get("type", "") if isinstance(block, dict) else getattr(block, "block_type", "")
    if str(kind).startswith(_UNCOUNTABLE):
        raise BudgetError(
            f"a message holds a block of type {kind!r}, whose tokens can't be counted: leave it out, "
            "and raise reserve=... by what it takes"
        )
    return str(block.get("text") or block) if isinstance(block, dict) else str(getattr(block, "text", block))


def _uncountable(part: object) -> BudgetError:
    return BudgetError(
        "prompt, question and history must be strings, messages (LangChain's, LlamaIndex's, dicts with 'content', or "
        "lists of them), prompt templates, chat histories, memories or chat stores of either framework; "
        f"got {type(part).__name__}: {part!r:.80}"
    )

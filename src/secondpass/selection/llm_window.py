"""The context window of an LLM, and the tokens of it that are left for the context."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from secondpass.errors import BudgetError
from secondpass.selection.tokens import TokenCounter

MESSAGE_OVERHEAD = 4
"""Tokens that a chat format adds to each message for its role and its marks (OpenAI's chat format takes 3 to 4)."""

_UNCOUNTABLE = ("image", "audio", "video", "file", "input_audio", "document")


class Window(NamedTuple):
    """The size of an LLM's context window, and the tokens of it that are reserved for the answer."""

    size: int
    reserve: int


def context_tokens(window: Window, parts: Mapping[str, Any], counter: TokenCounter) -> tuple[int, str]:
    """Return the tokens left for the context, and how they come about in words.

    :param window: The window and the reserve.
    :param parts: What else the prompt holds, by name: strings or messages.
    :param counter: Counts the parts.
    :raises BudgetError: If no tokens are left.
    """
    taken = {name: _tokens(part, counter) for name, part in parts.items()}
    left = window.size - window.reserve - sum(taken.values())
    sums = "".join(f" - {name} {tokens}" for name, tokens in taken.items())
    origin = f"window {window.size} - output {window.reserve}{sums}, {counter.name} tokens"
    if left <= 0:
        raise BudgetError(f"nothing is left for the context: {origin} leaves {left} tokens")
    return left, origin


def read_window(llm: object, reserve: int | None) -> Window:
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
    return Window(int(size), int(stated if reserve is None else reserve))


def _positive(number: object) -> bool:
    return isinstance(number, int) and number > 0


def _tokens(part: Any, counter: TokenCounter) -> int:
    return sum(counter.count(_message_text(message)) + MESSAGE_OVERHEAD for message in _messages(part))


def _messages(part: Any) -> Iterable[Any]:
    if not part:
        return []
    single = isinstance(part, str) or hasattr(part, "content")
    return [part] if single else part


def _message_text(message: Any) -> str:
    """Return what a message says: a string, or either framework's message, with its blocks and its tool calls.

    :raises BudgetError: If a block is an image or the like, whose tokens nobody can tell from here.
    """
    content = getattr(message, "content", message)
    calls = getattr(message, "tool_calls", None)
    parts = content if isinstance(content, list | tuple) else [content]
    return "\n".join([*map(_block_text, parts), *([str(calls)] if calls else [])])


def _block_text(block: Any) -> str:
    if block is None or isinstance(block, str):
        return block or ""
    kind = str(block.get("type", "")) if isinstance(block, dict) else ""
    if kind.startswith(_UNCOUNTABLE):
        raise BudgetError(
            f"the history holds a block of type {kind!r}, whose tokens can't be counted: leave it out, "
            "and raise reserve=... by what it takes"
        )
    return str(block.get("text") or block) if isinstance(block, dict) else str(getattr(block, "text", block))

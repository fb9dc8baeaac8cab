"""The context budget: how many of the LLM's tokens the kept texts may take together, and how they are joined."""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, SupportsIndex

from secondpass.errors import BudgetError, checked
from secondpass.records import Candidate
from secondpass.selection.llm_window import (
    part_tokens,
    read_synthesizer,
    read_window,
    subtract_tokens,
)
from secondpass.selection.tokens import TokenCounter, as_counter
from secondpass.text import template_fields

Template = str | Callable[[int, str, Candidate], str]
"""How a candidate is written in the prompt; see ``ContextBudget``."""


@partial(checked, error=BudgetError)
@dataclass(frozen=True, slots=True)
class ContextBudget:
    """A hard limit for the kept texts, counted on the joined text as the LLM will read it.

    :param max_tokens: The limit; 0 keeps nothing.
    :param counter: Counts the LLM's tokens: a tiktoken encoding, a Hugging Face tokenizer, any callable from text to
        tokens or their number; None takes a stated estimate on the safe side.
    :param separator: What stands between two items in the prompt.
    :param template: How one candidate is written in the prompt: a format string with ``{text}`` (required), ``{index}``
        (from 1, in reading order), ``{id}``, ``{source}`` (where the candidate has none, those of the metadata) and any
        field of ``Candidate.metadata``, where a missing one is empty; a callable ``(index, text, candidate) -> str``;
        or the document prompt of a LangChain chain, a prompt template of ``{page_content}`` and metadata.
    :param origin: Where the number comes from, in words, for the report.
    :param prompt_tokens: What the whole prompt may take, for ``check_prompt``; None where it isn't known.
    :raises BudgetError: If the limit is negative or no whole number, or the template can't be filled.
    """

    max_tokens: int
    counter: object = None
    separator: str = "\n\n"
    template: Template | Any = "{text}"
    origin: str = ""
    prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the settings and make the counter a ``TokenCounter``."""
        if isinstance(self.max_tokens, bool) or not isinstance(self.max_tokens, SupportsIndex):
            raise BudgetError(f"max_tokens must be a whole number of tokens, got {self.max_tokens!r}")
        object.__setattr__(self, "max_tokens", operator.index(self.max_tokens))
        if self.max_tokens < 0:
            origin = f" ({self.origin})" if self.origin else ""
            raise BudgetError(f"max_tokens must be 0 or more, got {self.max_tokens}{origin}")
        if not isinstance(self.separator, str):
            raise BudgetError(f"the separator must be a string, got {self.separator!r:.80}")
        object.__setattr__(self, "counter", as_counter(self.counter))
        object.__setattr__(self, "template", _as_template(self.template))

    @classmethod
    @partial(checked, error=BudgetError)
    def for_llm(
        cls,
        llm: object,
        *,
        reserve: int | None = None,
        prompt: object = "",
        question: object = "",
        history: object = (),
        counter: object = None,
        synthesizer: bool = True,
        **layout: Any,
    ) -> "ContextBudget":
        """Compute the budget from an LLM's context window: window - output - prompt - question - history.

        The response synthesizer of LlamaIndex's query and chat engines keeps more of the window free, and calls the LLM
        a second time for what doesn't fit. The budget of a LlamaIndex LLM leaves that out, so that one call is enough.

        :param llm: A LangChain chat model (its ``profile`` is read) or a LlamaIndex LLM (its ``metadata``).
        :param reserve: Tokens kept free for the answer; None takes what the LLM states, and is an error where it
            states nothing. LlamaIndex's synthesizer never keeps less free than the LLM states.
        :param prompt: The prompt without question, history and context: its text, or a LangChain or LlamaIndex prompt
            template, whose variables count as empty.
        :param question: The question, as the prompt will hold it.
        :param history: Earlier messages: strings, dicts with ``content``, either framework's messages, or its memory,
            chat history or chat store.
        :param counter: As in the constructor; it counts the prompt, question and history too.
        :param synthesizer: False where a LlamaIndex LLM is called without its response synthesizer.
        :param layout: ``separator`` and ``template``, as in the constructor.
        :raises BudgetError: If the window or the reserve isn't known, a part can't be counted, or nothing is left for
            the context.
        """
        count = as_counter(counter)
        window = read_window(llm, reserve)
        system = getattr(llm, "system_prompt", None)
        parts = {"system prompt": system} if system else {}
        parts["prompt"] = prompt
        kept_free = read_synthesizer(llm) if synthesizer else None
        if kept_free:
            window = window._replace(reserve=max(window.reserve, kept_free.output))
            parts["prompt"] = max((prompt, kept_free.refine), key=lambda part: part_tokens(part, count))
        parts |= {"question": question, "history": history}
        padding = kept_free.padding if kept_free else 0
        name = f"window {window.size} - output {window.reserve}" + (f" - synthesizer {padding}" if padding else "")
        left, origin = subtract_tokens(window.size - window.reserve - padding, parts, count, name)
        if left <= 0:
            raise BudgetError(f"nothing is left for the context: {origin} = {left}")
        return cls(left, counter=count, origin=origin, prompt_tokens=window.size - window.reserve, **layout)

    def less(self, **parts: object) -> "ContextBudget":
        """Return the budget less the tokens of further parts of the prompt, at least 0.

        :param parts: By name, such as ``history``; in the forms that ``for_llm`` takes.
        :raises BudgetError: If a part can't be counted.
        """
        name = self.origin or f"budget {self.max_tokens}"
        left, origin = subtract_tokens(self.max_tokens, parts, self.counting, name)
        return replace(self, max_tokens=max(0, left), origin=origin)

    def check(self, context: str) -> int:
        """Return the tokens of a context as the final prompt holds it, if they are within the budget.

        Steps after the selection, such as replacing sentence windows or merging parents, can expand what was counted.

        :raises BudgetError: If the context exceeds the budget.
        """
        if not isinstance(context, str):
            raise BudgetError(f"the context must be a string, got {context!r:.80}")
        tokens = self.counting.count(context)
        if tokens > self.max_tokens:
            raise BudgetError(
                f"the context must take at most {self.max_tokens} tokens, and takes {tokens}: expand documents before "
                "they are reranked, not after"
            )
        return tokens

    def check_prompt(self, prompt: object) -> int:
        """Return the tokens of the final prompt, if they leave space for the answer in the LLM's window.

        :param prompt: What the LLM is given: a string, messages of either framework, or a LangChain prompt value.
        :raises BudgetError: If the prompt exceeds the window less the reserve, can't be counted, or the window isn't
            known.
        """
        if self.prompt_tokens is None:
            raise BudgetError("prompt_tokens must be known: use ContextBudget.for_llm(llm), or give prompt_tokens=...")
        tokens = part_tokens(prompt, self.counting)
        if tokens > self.prompt_tokens:
            raise BudgetError(
                f"the prompt must take at most {self.prompt_tokens} tokens (the window less the reserve), and takes "
                f"{tokens}: give for_llm all of its parts"
            )
        return tokens

    @property
    def counting(self) -> TokenCounter:
        """The counter as a ``TokenCounter``."""
        return as_counter(self.counter)

    def render(self, index: int, candidate: Candidate, text: str) -> str:
        """Return one candidate as the prompt will hold it.

        :param index: Its position in the reading order, from 1.
        :param candidate: The candidate.
        :param text: What is kept of its text.
        :raises BudgetError: If a callable template returns no string.
        """
        if not isinstance(self.template, str):
            written = self.template(index, text, candidate)
            if not isinstance(written, str):
                raise BudgetError(f"a callable template must return a string, got {written!r:.80}")
            return written
        own = {"id": candidate.id, "source": candidate.source}
        fields = {**candidate.metadata, **_without_none(own), "text": text, "index": index}
        return self.template.format_map(defaultdict(str, _without_none(fields)))

    def blank_fields(self, candidates: Iterable[Candidate]) -> list[str]:
        """Return the metadata fields of a format string that no candidate has."""
        fields = (template_fields(self.template) or set()) - {"text", "index"}
        for candidate in candidates:
            own = {"id": candidate.id, "source": candidate.source}
            fields = fields.difference(candidate.metadata, _without_none(own))
        return sorted(fields)

    def join(self, items: list[tuple[Candidate, str]]) -> str:
        """Return candidates and their kept texts, given in reading order, as the prompt will hold them."""
        rendered = (self.render(index, *item) for index, item in enumerate(items, start=1))
        return self.separator.join(rendered)


BudgetSource = int | ContextBudget | Callable[..., int | ContextBudget]
"""The forms of a budget in the integrations: tokens, a record, or a callable of the query, called for each query."""


def as_budget(source: BudgetSource | None, query: str) -> ContextBudget | None:
    """Return any form of a budget as a record.

    :raises BudgetError: If it is none of the accepted forms.
    """
    if callable(source):
        source = source(query)
    if source is None or isinstance(source, ContextBudget):
        return source
    return ContextBudget(source)


def _without_none(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _as_template(template: Any) -> Template:
    """Return a template as a format string or a callable.

    :raises BudgetError: If it is none of the accepted forms.
    """
    if hasattr(template, "input_variables") and hasattr(template, "format"):
        if "page_content" not in template.input_variables:
            raise BudgetError(
                f"a document prompt must have the variable page_content, got {sorted(template.input_variables)}"
            )
        return partial(_format_document, template)
    if not callable(template) and "text" not in (template_fields(template) or ()):
        raise BudgetError(
            "the template must be a format string with {text}, and may use {index}, {id}, {source} and the names of "
            f"metadata, all bare, or a callable (index, text, candidate) -> str; got {template!r}"
        )
    return template  # type: ignore[no-any-return]  # checked above


def _format_document(prompt: Any, _index: int, text: str, candidate: Candidate) -> str:
    """Fill a LangChain document prompt as LangChain's chains do, with empty strings for missing metadata."""
    fields = {name: candidate.metadata.get(name, "") for name in prompt.input_variables}
    return str(prompt.format(**{**fields, "page_content": text}))

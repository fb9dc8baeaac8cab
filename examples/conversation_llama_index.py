"""A conversation in a LlamaIndex chat engine: the follow-up condensed, history and context within one budget."""

from collections.abc import Sequence
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.chat_engine import CondensePlusContextChatEngine
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import TextNode

from examples.common import LlamaIndexEmbedding, passages
from secondpass import ContextBudget, call_options
from secondpass.llama_index import SecondPassRerank

TURNS = ("which methods does an object need to work in a with statement?", "and if the second one returns true?")
STANDALONE = "what happens to an exception if the __exit__ method of a context manager returns true?"
ANSWERS = ("It needs __enter__ and __exit__.", "The exception is suppressed.")


class ScriptedLLM(CustomLLM):
    """Stands for an LLM: condenses to a fixed question, answers in order, and keeps its prompts."""

    standalone: str
    answers: list[str]
    prompts: list[str] = []  # noqa: RUF012  # pydantic copies defaults

    @property
    def metadata(self) -> LLMMetadata:
        """Return the window of the model."""
        return LLMMetadata(context_window=4096, num_output=256, is_chat_model=True)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:  # noqa: FBT001, FBT002
        """Return the next text of the script."""
        self.prompts.append(prompt)
        condensing = "standalone question" in prompt.casefold()
        return CompletionResponse(text=self.standalone if condensing else self.answers.pop(0))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002
        """Return the next text of the script in one piece."""
        yield self.complete(prompt)


class Chat:
    """A chat engine whose reranker gets, at each turn, the budget that the history leaves.

    :param texts: The texts by id.
    :param llm: The LLM.
    :param model: The cross-encoder.
    :param budget: Tokens for history and context together.
    """

    def __init__(self, texts: dict[str, str], llm: CustomLLM, model: str, budget: ContextBudget) -> None:
        nodes = [TextNode(text=text, id_=key) for key, text in texts.items()]
        index = VectorStoreIndex(nodes, embed_model=LlamaIndexEmbedding(), insert_batch_size=len(nodes))
        self.memory = ChatMemoryBuffer.from_defaults(token_limit=budget.max_tokens)
        self.engine = CondensePlusContextChatEngine.from_defaults(
            retriever=index.as_retriever(similarity_top_k=50),
            llm=llm,
            memory=self.memory,
            node_postprocessors=[SecondPassRerank(model=model, budget=budget, min_probability=0.02)],
        )

    def ask(self, message: str) -> Any:
        """Return the engine's response to a message."""
        with call_options(history=self.memory.get()):
            return self.engine.chat(message)


def main(model: str = "nano", topics: Sequence[str] = (), max_tokens: int = 800) -> None:
    """Print each turn with the tokens of history and context."""
    budget = ContextBudget(max_tokens)
    chat = Chat(passages(topics), ScriptedLLM(standalone=STANDALONE, answers=list(ANSWERS)), model, budget)
    for turn in TURNS:
        history = sum(budget.counting.count(str(message.content)) for message in chat.memory.get())
        response = chat.ask(turn)
        texts = [node.node.get_content() for node in response.source_nodes]
        context = budget.counting.count(budget.separator.join(texts))
        print(f"user: {turn}\n  history {history} + context {context} of {max_tokens} tokens, estimated")
        print(f"  context: {', '.join(node.node.node_id for node in response.source_nodes)}\nLLM: {response}")


if __name__ == "__main__":
    main()

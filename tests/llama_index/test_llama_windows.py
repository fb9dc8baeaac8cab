"""A budget computed from LlamaIndex's LLM: its synthesizer then makes one call, whose prompt fits the window."""

from typing import Any

import pytest
from llama_index.core import PromptTemplate, Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import LLMMetadata
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_TEXT_QA_PROMPT_SEL
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_support import QUESTION, PromptKeeper, WordEmbedding, overlap_postprocessor

from secondpass import ContextBudget
from secondpass.errors import BudgetError
from secondpass.llama_index import SecondPassRerank

SENTENCES = [f"In year {number} the swallows fly south when September comes." for number in range(400)]


class ChatKeeper(PromptKeeper):
    """A chat model that keeps the messages it was given."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=self.window, num_output=50, is_chat_model=True)

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        self._prompts.append(list(messages))  # type: ignore[arg-type]
        return ChatResponse(message=ChatMessage("September.", role=MessageRole.ASSISTANT))


def retriever(sentences: list[str] = SENTENCES) -> Any:
    """Return a retriever that finds all sentences."""
    nodes = [TextNode(text=text) for text in sentences]
    return VectorStoreIndex(nodes, embed_model=WordEmbedding()).as_retriever(similarity_top_k=len(nodes))


def engine(llm: PromptKeeper, postprocessor: SecondPassRerank, **settings: Any) -> RetrieverQueryEngine:
    """Return LlamaIndex's query engine with its default synthesizer."""
    return RetrieverQueryEngine.from_args(retriever(), llm=llm, node_postprocessors=[postprocessor], **settings)


@pytest.mark.parametrize("kind", [PromptKeeper, ChatKeeper], ids=["completion", "chat"])
@pytest.mark.parametrize("counter", ["estimate", "LlamaIndex's own"])
@pytest.mark.parametrize("window", [900, 1_000, 2_000, 4_000])
def test_a_context_that_fills_the_budget_goes_in_one_call(window: int, counter: str, kind: type[PromptKeeper]) -> None:
    """In any window, the default synthesizer packs the context of ``for_llm``'s budget into a single prompt."""
    llm = kind(window=window)
    prompt = DEFAULT_TEXT_QA_PROMPT_SEL.select(llm=llm)
    budget = ContextBudget.for_llm(
        llm, prompt=prompt, question=QUESTION, counter=None if counter == "estimate" else Settings.tokenizer
    )
    response = engine(llm, overlap_postprocessor(budget=budget)).query(QUESTION)
    [sent] = llm.prompts
    assert len(response.source_nodes) > 3
    assert 0 < budget.check_prompt(sent) <= window - 50


def test_a_context_of_more_than_the_budget_takes_a_second_call() -> None:
    """Without what the synthesizer keeps free, the same context is split over several calls."""
    llm = PromptKeeper(window=1_000)
    budget = ContextBudget.for_llm(llm, question=QUESTION, counter=Settings.tokenizer, synthesizer=False)
    engine(llm, overlap_postprocessor(budget=budget)).query(QUESTION)
    assert len(llm.prompts) > 1


def test_a_long_prompt_of_ones_own_is_counted() -> None:
    """A longer prompt template, and a system prompt, leave less for the context, and still one call."""
    qa = PromptTemplate("Be precise. " * 50 + "{context_str} {query_str}")
    llm = PromptKeeper(window=1_200, system_prompt="You know all about birds. " * 10)
    budget = ContextBudget.for_llm(llm, prompt=qa, question=QUESTION, counter=Settings.tokenizer)
    assert "system prompt" in budget.origin
    engine(llm, overlap_postprocessor(budget=budget), text_qa_template=qa).query(QUESTION)
    assert len(llm.prompts) == 1


@pytest.mark.parametrize("kind", [PromptKeeper, ChatKeeper], ids=["completion", "chat"])
async def test_every_turn_of_a_chat_is_one_call_that_fits(kind: type[PromptKeeper]) -> None:
    """As the history of a chat engine grows the context shrinks, and the final prompt stays within the window."""
    llm = kind(window=1_000)

    def budget(query: str) -> ContextBudget:
        history = chat.chat_history
        return ContextBudget.for_llm(llm, question=query, history=history, counter=Settings.tokenizer)

    chat = ContextChatEngine.from_defaults(
        retriever(),
        llm=llm,
        memory=ChatMemoryBuffer.from_defaults(token_limit=4_000),
        node_postprocessors=[overlap_postprocessor(budget=budget)],
    )
    question = f"{QUESTION}, and where do all the other birds go when it gets cold and the days grow short?"
    sizes = [len((await chat.achat(question)).source_nodes) for _ in range(4)]
    assert sizes[0] > sizes[-1] > 0
    assert len(llm.prompts) == 4
    assert all(ContextBudget.for_llm(llm).check_prompt(sent) <= 950 for sent in llm.prompts)


def test_a_prompt_that_does_not_fit_is_an_error() -> None:
    """``check_prompt`` says what the prompt takes and what it may take."""
    budget = ContextBudget.for_llm(PromptKeeper(window=1_000), counter=lambda text: len(text.split()))
    with pytest.raises(BudgetError, match=r"at most 950 tokens .* takes 1004"):
        budget.check_prompt([ChatMessage("word " * 1_000)])


def test_a_query_engine_can_act_on_nothing_relevant() -> None:
    """An engine asks the ranking whether anything is relevant, and takes another way without calling the LLM."""
    llm = PromptKeeper()

    class Careful(CustomQueryEngine):
        postprocessor: SecondPassRerank
        inner: Any

        def custom_query(self, query_str: str) -> str:
            ranking = self.postprocessor.rank(retriever(SENTENCES[:5]).retrieve(query_str), query_str)
            return "Please ask about birds." if ranking.nothing_relevant else str(self.inner.query(query_str))

    postprocessor = overlap_postprocessor(min_probability=0.3)
    careful = Careful(postprocessor=postprocessor, inner=engine(llm, postprocessor))
    assert str(careful.query("compound interest")) == "Please ask about birds."
    assert llm.prompts == []
    assert str(careful.query(QUESTION)) == "September."


def test_a_plain_query_engine_answers_that_there_is_nothing() -> None:
    """Without relevant nodes LlamaIndex's own engine gives its empty response, and calls no LLM."""
    llm = PromptKeeper()
    response = engine(llm, overlap_postprocessor(min_probability=0.3)).query("compound interest")
    assert (str(response), response.source_nodes, llm.prompts) == ("Empty Response", [], [])

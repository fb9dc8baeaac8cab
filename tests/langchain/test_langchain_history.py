"""Chains with a chat history: a budget from the model's profile, the final prompt, and branches on the result."""

from typing import Any

import pytest
import tiktoken
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate, format_document
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnablePassthrough
from langchain_support import QUESTION, overlap_compressor
from tokenizers import Tokenizer, models, pre_tokenizers

from secondpass import ContextBudget
from secondpass.errors import BudgetError
from secondpass.langchain import SecondPassRerank


class ShortChatModel(FakeListChatModel):
    """A chat model whose answers take at most 60 tokens."""

    max_tokens: int = 60


LLM = ShortChatModel(responses=["September."], profile={"max_input_tokens": 500})
PROMPT = ChatPromptTemplate(
    [
        ("system", "Answer from the context alone.\n\n{context}"),
        MessagesPlaceholder("history"),
        ("human", "{question}"),
    ]
)
ITEM = PromptTemplate.from_template("<doc title='{title}'>\n{page_content}\n</doc>")
SEPARATOR = "\n---\n"
DOCUMENTS = [
    Document(f"In year {number} the swallows fly south when September comes.", metadata={"title": f"Birds, {number}"})
    for number in range(80)
]


def byte_pairs() -> tiktoken.Encoding:
    """Return a tiktoken encoding, with every byte and a few pairs as tokens: nothing is fetched."""
    pieces = [*(bytes([byte]) for byte in range(256)), b"th", b"in", b"er", b"ea", b"ow", b"\n\n", b"\n-", b"--"]
    ranks = {piece: number for number, piece in enumerate(pieces)}
    return tiktoken.Encoding("pairs", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})


def words() -> Tokenizer:
    """Return a Hugging Face tokenizer that splits at blanks and punctuation."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


COUNTERS = {"tiktoken": byte_pairs, "tokenizers": words, "estimate": lambda: None}


def write(documents: list[Document]) -> str:
    """Return the documents as the chain writes them."""
    return SEPARATOR.join(format_document(document, ITEM) for document in documents)


def chain(compressor: SecondPassRerank, sent: list[PromptValue]) -> Runnable[Any, Any]:
    """Return a chain that reranks, writes the context and the history, keeps the prompt, and asks the model."""

    def remember(prompt: PromptValue) -> PromptValue:
        sent.append(prompt)
        return prompt

    given: Runnable[Any, Any] = RunnablePassthrough.assign(context=compressor | write)
    return given | PROMPT | remember | LLM


@pytest.mark.parametrize("name", COUNTERS)
@pytest.mark.parametrize("window", [1_000, 2_000, 4_000])
def test_a_chain_with_a_history_stays_in_the_window(name: str, window: int) -> None:
    """As the history grows, the context shrinks; the final prompt fits in each turn, by every kind of counter."""
    llm = LLM.model_copy(update={"profile": {"max_input_tokens": window}})
    layout: dict[str, Any] = {"template": ITEM, "separator": SEPARATOR}
    budget = ContextBudget.for_llm(llm, prompt=PROMPT, question=QUESTION, counter=COUNTERS[name](), **layout)
    compressor, history, sent, sizes = overlap_compressor(budget=budget), list[BaseMessage](), list[PromptValue](), []
    for _ in range(4):
        turn = {"query": QUESTION, "question": QUESTION, "documents": DOCUMENTS, "history": history}
        answer = chain(compressor, sent).invoke(turn)
        taken = budget.check_prompt(sent[-1])
        assert taken <= window - 60
        assert taken == budget.check_prompt(sent[-1].to_messages())
        sizes.append(sent[-1].to_string().count("<doc"))
        history = [*history, HumanMessage(QUESTION + " " + "please" * 20), AIMessage(answer.content)]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < sizes[0] or sizes[0] == len(DOCUMENTS)


def test_a_budget_that_ignores_the_history_is_found_out() -> None:
    """The check of the final prompt catches what the budget wasn't given."""
    budget = ContextBudget.for_llm(LLM, prompt=PROMPT, question=QUESTION, template=ITEM, separator=SEPARATOR)
    history = [HumanMessage("how many swallows are there? " * 20)]
    compressor = overlap_compressor(budget=budget)
    context = write(list(compressor.compress_documents(DOCUMENTS, QUESTION)))
    sent = PROMPT.invoke({"context": context, "question": QUESTION, "history": history})
    with pytest.raises(BudgetError, match="the prompt must take at most 440 tokens"):
        budget.check_prompt(sent)


@pytest.mark.parametrize("question", ["compound interest", QUESTION])
def test_a_branch_acts_on_nothing_relevant(question: str) -> None:
    """A ``RunnableBranch`` takes another way where no document is relevant."""
    compressor = overlap_compressor(min_probability=0.3)
    ranked = RunnableLambda(lambda given: compressor.rank(given["documents"], given["query"]))
    branch = RunnableBranch(
        (lambda ranking: ranking.nothing_relevant, lambda ranking: "Please ask about birds."),
        lambda ranking: write(compressor.documents(ranking)),
    )
    answer = (ranked | branch).invoke({"query": question, "documents": DOCUMENTS[:2]})
    assert answer == ("Please ask about birds." if question != QUESTION else write(DOCUMENTS[:2]))


def test_a_branch_acts_on_an_empty_list() -> None:
    """As a step of a chain the compressor returns an empty list, which is false."""
    branch = RunnableBranch((lambda kept: not kept, lambda kept: "nothing"), lambda kept: "something")
    answer = (overlap_compressor(min_probability=0.3) | branch).invoke(
        {"query": "compound interest", "documents": DOCUMENTS}
    )
    assert answer == "nothing"

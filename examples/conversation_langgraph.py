"""A conversation as a LangGraph graph: the follow-up condensed, history and context within one budget."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, trim_messages
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from examples.common import ChromaIndex, passages
from secondpass import ContextBudget
from secondpass.langchain import SecondPassRerank

CONDENSE = "Write the follow-up as a question that stands alone.\n\nConversation:\n{history}\n\nFollow-up: {question}"
ANSWER = "Answer from the context.\n\nContext:\n{context}\n\nQuestion: {question}"
TURNS = ("which methods does an object need to work in a with statement?", "and if the second one returns true?")
SCRIPT = (  # what the LLM says, in order; FakeListChatModel stands for one
    "It needs __enter__ and __exit__.",
    "what happens to an exception if the __exit__ method of a context manager returns true?",
    "The exception is suppressed.",
)


class State(TypedDict, total=False):
    """The graph's state; LangGraph keeps it between turns of a thread."""

    messages: list[AnyMessage]
    follow_up: str
    question: str
    history: list[AnyMessage]
    documents: list[Document]


class Conversation:
    """Condense, retrieve, rerank, answer.

    :param index: The first stage.
    :param llm: A chat model.
    :param model: The cross-encoder.
    :param budget: Tokens for history and context together, with the LLM's tokenizer where there is one.
    :param history_share: The most of them that the history may take; older messages are left out.
    """

    def __init__(
        self, index: ChromaIndex, llm: BaseChatModel, model: str, budget: ContextBudget, history_share: float = 0.5
    ) -> None:
        self._index, self._llm, self._budget = index, llm, budget
        self._for_history = int(budget.max_tokens * history_share)
        self._reranker = SecondPassRerank(model=model, budget=budget, min_probability=0.02)

    def graph(self) -> CompiledStateGraph[State]:
        """Return the compiled graph, with a memory for its threads."""
        steps: Mapping[str, Any] = {
            "condense": self.condense,
            "retrieve": self.retrieve,
            "rerank": self.rerank,
            "answer": self.answer,
        }
        graph = StateGraph(State)
        for name, step in steps.items():
            graph.add_node(name, step)
        for before, after in zip((START, *steps), (*steps, END), strict=True):
            graph.add_edge(before, after)
        return graph.compile(checkpointer=InMemorySaver())

    def condense(self, state: State) -> State:
        """Cut the history to its share, and make the follow-up a question of its own."""
        history = trim_messages(
            state.get("messages", []),
            max_tokens=self._for_history,
            token_counter=lambda messages: sum(self._budget.counting.count(str(item.content)) for item in messages),
            strategy="last",
        )
        question = state["follow_up"]
        if history:
            lines = "\n".join(f"{message.type}: {message.content}" for message in history)
            question = str(self._llm.invoke(CONDENSE.format(history=lines, question=question)).content)
        return {"question": question, "history": history}

    def retrieve(self, state: State) -> State:
        """Retrieve with the condensed question."""
        results = self._index.search(state["question"], 50)
        return {"documents": [Document(item.text, id=item.id, metadata={"id": item.id}) for item in results]}

    def rerank(self, state: State) -> State:
        """Keep what fits the budget that the history leaves."""
        given = {"query": state["question"], "documents": state["documents"], "history": state["history"]}
        return {"documents": list(self._reranker.invoke(given))}

    def answer(self, state: State) -> State:
        """Answer, and remember both messages."""
        context = self._budget.separator.join(document.page_content for document in state["documents"])
        prompt = HumanMessage(ANSWER.format(context=context, question=state["question"]))
        reply = self._llm.invoke([*state["history"], prompt])
        said = [HumanMessage(state["follow_up"]), AIMessage(reply.content)]
        return {"messages": [*state.get("messages", []), *said]}


def main(model: str = "nano", topics: Sequence[str] = (), max_tokens: int = 800) -> None:
    """Print each turn: the question that was searched, the history's tokens and those of the context."""
    budget = ContextBudget(max_tokens)
    index = ChromaIndex(passages(topics))
    graph = Conversation(index, FakeListChatModel(responses=list(SCRIPT)), model, budget).graph()
    for turn in TURNS:
        state = graph.invoke({"follow_up": turn}, {"configurable": {"thread_id": "1"}})
        history = sum(budget.counting.count(str(message.content)) for message in state["history"])
        context = budget.separator.join(document.page_content for document in state["documents"])
        print(f"user: {turn}\n  searched: {state['question']}")
        print(f"  history {history} + context {budget.counting.count(context)} of {max_tokens} tokens, estimated")
        print(f"  context: {', '.join(str(document.id) for document in state['documents'])}")
        print(f"LLM: {state['messages'][-1].content}")


if __name__ == "__main__":
    main()

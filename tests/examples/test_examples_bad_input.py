"""Bad input in the examples: a clear error or a marked result, never a wrong answer without a word."""

from typing import Any

import pytest

pytest.importorskip("faiss", reason="the group examples isn't installed")
pytest.importorskip("langgraph", reason="the group examples isn't installed")
pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
from langchain_core.language_models import FakeListChatModel
from langchain_core.vectorstores import VectorStore

from examples.common import ChromaIndex, LangChainEmbeddings, chroma_client, read_data
from examples.conversation_langgraph import Conversation
from examples.faq_matching import FaqMatcher
from examples.product_search import ProductSearch, as_filter, parse_price
from examples.question_answering import QuestionAnswering
from secondpass import ContextBudget, Reranker
from secondpass.errors import InputError
from secondpass.langchain import SecondPassRerank, TwoStageRetriever

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop() -> ProductSearch:
    """Return the product search over the examples' own products."""
    return ProductSearch(read_data("products.json"), "nano", top_n=5)


def test_filter_without_a_match_returns_an_empty_ranking(shop: ProductSearch) -> None:
    """No product passes, nothing is scored, and the ranking is complete."""
    ranking = shop.search("laptop under $10", category="laptops")
    assert (len(ranking.kept), len(ranking.dropped), ranking.degraded) == (0, 0, None)


def test_empty_index_returns_nothing() -> None:
    """A store without texts gives no candidates, and reranking none is no error."""
    candidates = ChromaIndex({}).search("anything", 10)
    assert candidates == []
    assert len(Reranker("nano").rerank("anything", candidates)) == 0


def test_store_without_scores_is_reranked_by_its_order() -> None:
    """A store that returns no scores still gives candidates, with ranks alone."""
    from langchain_chroma import Chroma

    class Scoreless(Chroma):
        def similarity_search_with_score(self, *arguments: Any, **options: Any) -> Any:
            raise NotImplementedError

        def similarity_search(self, query: str, k: int = 4, **options: Any) -> Any:
            return [document for document, _ in super().similarity_search_with_score(query, k)]

    store: VectorStore = Scoreless("scoreless", LangChainEmbeddings(), client=chroma_client())
    store.add_texts(["Kettles boil water.", "Lamps give light."])
    retriever = TwoStageRetriever(vectorstore=store, compressor=SecondPassRerank(model="nano", top_n=1))
    (best,) = retriever.invoke("what boils water?")
    assert best.page_content == "Kettles boil water."
    assert "first_stage_score" not in best.metadata["secondpass"]


def test_products_without_description_are_found_by_their_titles(shop: ProductSearch) -> None:
    """A missing or empty description is an empty field of the template."""
    ranking = shop.search("Featherbook 13", category="laptops")
    assert ranking.kept[0].candidate.id == "lap-6"
    assert ranking.kept[0].candidate.text == "Featherbook 13 laptop. "


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (899, 899.0),
        ("$899.00", 899.0),
        ("1,899.00 USD", 1899.0),
        ("1.049,00", 1049.0),
        ("2,199", 2199.0),
        ("24,9", 24.9),
        ("79.95 €", 79.95),
        ("price on request", None),
        ("", None),
        (None, None),
    ],
)
def test_prices_that_are_strings_become_numbers(written: object, number: float | None) -> None:
    """Signs, currencies and both ways to group thousands are read; what has no number is None."""
    assert parse_price(written) == number


def test_product_without_a_price_passes_no_price_filter(shop: ProductSearch) -> None:
    """A product without a price is neither under nor over a limit, in Chroma as in the filter of BM25."""
    for question in ("mystery box unsorted returns under $5000", "mystery box unsorted returns over $1"):
        ranking = shop.search(question)
        assert "mis-1" not in {item.candidate.id for item in (*ranking.kept, *ranking.dropped)}
    assert shop.search("mystery box unsorted returns").kept[0].candidate.id == "mis-1"


def test_unread_price_as_a_signal_is_an_error() -> None:
    """A price that is a string with a currency can't be a signal: the error names product and value."""
    reranker = SecondPassRerank(model="nano", signal_keys=["price"])
    from langchain_core.documents import Document

    with pytest.raises(InputError, match=r"'price' of document 'lap-1' is '\$899.00'"):
        reranker.rank([Document("a laptop", id="lap-1", metadata={"price": "$899.00"})], "laptop")


@pytest.mark.parametrize(
    ("question", "text", "condition"),
    [
        ("gaming laptop under $1000", "gaming laptop", {"price": {"$lt": 1000.0}}),
        ("tent over 1,500 dollars", "tent", {"price": {"$gt": 1500.0}}),
        ("kettle", "kettle", {}),
        ("under $10", "under $10", {"price": {"$lt": 10.0}}),
    ],
)
def test_limits_in_the_question_become_filters(question: str, text: str, condition: dict[str, Any]) -> None:
    """What a filter can decide leaves the question, unless nothing would be left."""
    assert as_filter(question, in_stock=False) == (text, condition)


def test_faq_without_the_answer_says_none_of_these() -> None:
    """A question that no entry answers gets None, also where there are no entries."""
    matcher = FaqMatcher(read_data("faq.json")["entries"], "nano")
    assert matcher.answer("who directed The Third Man") is None
    assert FaqMatcher([], "nano").answer("how do I cancel my subscription") is None


def test_question_that_no_passage_answers_has_no_citation() -> None:
    """Below the least probability there is no answer; an index without texts is refused."""
    system = QuestionAnswering({"a": "Kettles boil water.", "b": "Lamps give light."}, "nano")
    assert system.answer("who lives on Mars?") is None
    with pytest.raises(InputError, match="0 texts have none"):
        QuestionAnswering({}, "nano")


def test_conversation_longer_than_the_window_keeps_its_latest_messages() -> None:
    """A long history is cut to its share, the oldest first, and the context still fits."""
    index = ChromaIndex({str(place): f"Kettle number {place} boils water in three minutes." for place in range(9)})
    llm = FakeListChatModel(responses=["what boils water?"])
    budget = ContextBudget(120)
    conversation = Conversation(index, llm, "nano", budget)
    from langchain_core.messages import AIMessage, HumanMessage

    talk: list[Any] = [
        kind(f"message {place} about kettles and lamps") for place in range(40) for kind in (HumanMessage, AIMessage)
    ]
    state = conversation.condense({"messages": talk, "follow_up": "and water?"})
    assert 0 < len(state["history"]) < len(talk)
    assert state["history"][-1] == talk[-1]
    state |= conversation.retrieve(state)
    documents = conversation.rerank(state)["documents"]
    used = sum(budget.counting.count(str(message.content)) for message in state["history"])
    context = budget.separator.join(document.page_content for document in documents)
    assert 0 < budget.counting.count(context) <= 120 - used

"""Product search: structured filters in Chroma, BM25 beside it, constraints in the question, business signals."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from examples.common import ChromaIndex, read_data, row
from secondpass import Ranking, WeightedSum
from secondpass.evaluation import Bm25Index
from secondpass.fusion import merge_lists
from secondpass.langchain import SecondPassRerank

QUESTIONS = (
    "gaming laptop under $1000",
    "wireless headphones with noise cancelling",
    "something to make coffee for under 50 dollars",
    "kettle",
)
SIGNALS = WeightedSum(alpha=0.3, weights={"popularity": 2.0, "added": 1.0})  # relevance 0.7, the business 0.3
_LIMIT = re.compile(
    r"(under|below|less than|over|above|more than)\s*(?:\$|usd|eur|€)?\s*([\d.,]*\d)\s*(?:\$|dollars)?", re.IGNORECASE
)
_GROUPED = re.compile(r"\d{1,3}([.,]\d{3})+$")


def parse_price(value: object) -> float | None:
    """Return a price as a number: ``899``, ``"$899.00"``, ``"1,899.00 USD"`` ``"1.049,00"``; None without one."""
    if isinstance(value, int | float):
        return float(value)
    digits = re.search(r"\d[\d.,]*", str(value or ""))
    if digits is None:
        return None
    text = digits.group().rstrip(".,")
    if _GROUPED.fullmatch(text):  # "1,899": the sign groups thousands
        return float(re.sub(r"[.,]", "", text))
    whole, sign, cents = re.fullmatch(r"(.*?)(?:([.,])(\d{1,2}))?", text).groups()  # type: ignore[union-attr]
    return float(re.sub(r"[.,]", "", whole) + (f".{cents}" if sign else ""))


def as_filter(question: str, *, in_stock: bool = True, category: str | None = None) -> tuple[str, dict[str, Any]]:
    """Return the question without its price limits, and the limits as a filter of Chroma.

    A cross-encoder reads "under $1000" as words: it can't compare numbers. A filter can.
    """
    conditions: list[dict[str, Any]] = [{"stock": {"$gt": 0}}] if in_stock else []
    if category:
        conditions.append({"category": category})
    for word, amount in _LIMIT.findall(question):
        operator = "$lt" if word.lower() in ("under", "below", "less than") else "$gt"
        conditions.append({"price": {operator: parse_price(amount)}})
    text = " ".join(_LIMIT.sub(" ", question).split()).removesuffix(" for") or question
    return text, {"$and": conditions} if len(conditions) > 1 else conditions[0] if conditions else {}


def matches(product: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Apply the same filter to a product, for BM25, which has no fields."""
    if "$and" in condition:
        return all(matches(product, part) for part in condition["$and"])
    tests = {"$gt": lambda value, limit: value > limit, "$lt": lambda value, limit: value < limit}
    for field, wanted in condition.items():
        ((operator, limit),) = wanted.items() if isinstance(wanted, Mapping) else {"": wanted}.items()
        value = product.get(field)
        if value is None or not (tests[operator](value, limit) if operator else value == limit):
            return False
    return True


class ProductSearch:
    """Filters, both retrievers, and a reranker that reads title and description.

    :param products: Records with id, title, description, category, price, stock, popularity and date.
    :param model: The cross-encoder.
    :param settings: Further settings of the reranker.
    """

    def __init__(self, products: Sequence[Mapping[str, Any]], model: str = "small", **settings: Any) -> None:
        # a price that is no number is left out, and then no filter on prices lets the product through
        cleaned = [{**item, "price": parse_price(item["price"])} for item in products]
        self.fields = {str(item["id"]): {k: v for k, v in item.items() if v not in (None, "")} for item in cleaned}
        texts = {key: f"{item['title']}. {item.get('description', '')}" for key, item in self.fields.items()}
        self.dense, self.bm25 = ChromaIndex(texts, list(self.fields.values())), Bm25Index(texts)
        self.reranker = SecondPassRerank(
            model=model, score_text="{title}. {description}", signal_keys=("popularity", "added"), **settings
        )

    def search(self, question: str, **limits: Any) -> Ranking:
        """Return the products that satisfy the filter, ranked by relevance and signals."""
        text, condition = as_filter(question, **limits)
        bm25 = [item for item in self.bm25.search(text) if matches(self.fields[str(item.id)], condition)]
        merged = merge_lists({"dense": self.dense.search(text, 100, condition), "bm25": bm25})
        documents = [
            Document(
                str(self.fields[str(item.id)].get("description", "")), id=item.id, metadata=self.fields[str(item.id)]
            )
            for item in merged
        ]
        return self.reranker.rank(documents, text, scores=[item.score for item in merged])


def main(model: str = "small", questions: Sequence[str] = QUESTIONS) -> None:
    """Print the results without filter and signals, and with both."""
    products = read_data("products.json")
    plain, full = ProductSearch(products, model, top_n=3), ProductSearch(products, model, top_n=3, fusion=SIGNALS)
    for question in questions:
        print(f"\nQ: {question}\n   filter: {as_filter(question)[1]}")
        unfiltered = plain.reranker.model_copy().rank(
            [
                Document(item.text, id=item.id, metadata=plain.fields[str(item.id)])
                for item in plain.dense.search(question)
            ],
            question,
        )
        for name, ranking in (
            ("no filter", unfiltered),
            ("filter", plain.search(question)),
            ("+ signals", full.search(question)),
        ):
            for kept in ranking:
                item = full.fields[str(kept.candidate.id)]
                cells = (kept.probability, item.get("price"), item["stock"], item["popularity"], item["title"])
                print(row(f"   {name}" if kept.rank == 1 else "", *cells, widths=(13, 6, 9, 4, 4, 34)))
    print(f"\nno match: {len(full.search('laptop under $100', category='laptops'))} products, and no error")


if __name__ == "__main__":
    main()

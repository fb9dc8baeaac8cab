"""Negation, limits, comparisons, codes, section numbers, dates: who puts the right text before the wrong one."""

from collections.abc import Callable, Mapping, Sequence

from examples.common import load_bi_encoder, read_data
from secondpass import Pair, Score, Scorer, load_scorer
from secondpass.evaluation import Bm25Index

Case = tuple[str, str, str]
"""A query, the text that answers it, and one that looks like it and doesn't."""
Margins = Callable[[Sequence[Case]], list[float]]
"""From cases to how far the right text's score is above the wrong one's."""


def cross_encoder_margins(scorer: Scorer) -> Margins:
    """Return the differences of a cross-encoder's logits."""

    def margins(cases: Sequence[Case]) -> list[float]:
        pairs = [Pair(query, text) for query, *texts in cases for text in texts]
        values = [
            outcome.value if isinstance(outcome, Score) else 0.0 for outcome in scorer.score_pairs(pairs).outcomes
        ]
        return [right - wrong for right, wrong in zip(values[::2], values[1::2], strict=True)]

    return margins


def bi_encoder_margins(cases: Sequence[Case]) -> list[float]:
    """Return the differences of the bi-encoder's cosines."""
    encoder = load_bi_encoder()
    vectors = encoder.embed_passages([text for _, *texts in cases for text in texts])
    differences = vectors[::2] - vectors[1::2]
    return [float(encoder.embed_query(case[0]) @ row) for case, row in zip(cases, differences, strict=True)]


def bm25_margins(cases: Sequence[Case]) -> list[float]:
    """Return the differences of BM25 scores; its word statistics are those of all texts here."""
    index = Bm25Index({text: text for _, *texts in cases for text in texts})
    scores = [{item.id: item.score or 0.0 for item in index.search(query, 1000)} for query, _, _ in cases]
    return [of.get(right, 0.0) - of.get(wrong, 0.0) for of, (_, right, wrong) in zip(scores, cases, strict=True)]


def main(models: Sequence[str] = ("nano", "small")) -> None:
    """Print how many pairs of each kind each system orders rightly, and which ones no system does."""
    kinds: Mapping[str, list[list[str]]] = read_data("hard_pairs.json")
    cases: list[Case] = [(query, right, wrong) for pairs in kinds.values() for query, right, wrong in pairs]
    systems: dict[str, Margins] = {"BM25": bm25_margins, "bi-encoder": bi_encoder_margins}
    systems |= {model: cross_encoder_margins(load_scorer(model)) for model in models}
    margins = {name: system(cases) for name, system in systems.items()}

    print(f"pairs ordered rightly (a tie isn't); by chance, half of them\n{'kind':12}{'pairs':>6}", end="")
    print("".join(f"{name:>12}" for name in margins))
    start = 0
    for kind, pairs in kinds.items():
        right = [sum(value > 0 for value in values[start : start + len(pairs)]) for values in margins.values()]
        print(f"{kind:12}{len(pairs):6}" + "".join(f"{count:12}" for count in right))
        start += len(pairs)
    totals = [sum(value > 0 for value in values) for values in margins.values()]
    print(f"{'all':12}{len(cases):6}" + "".join(f"{count:12}" for count in totals))

    print("\nordered rightly by none:")
    for position, (query, _, wrong) in enumerate(cases):
        if all(values[position] <= 0 for values in margins.values()):
            print(f"  {query!r} prefers {wrong!r}")


if __name__ == "__main__":
    main()

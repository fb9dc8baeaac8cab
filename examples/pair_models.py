"""Models of pairs: a semantic cache check, near-duplicates, paraphrases, and claim checking with an NLI model.

No weights of such models are in the package or on PyPI: name your own, such as ``cross-encoder/stsb-roberta-base`` and
``cross-encoder/nli-deberta-v3-base``: ``python -m examples.pair_models STS NLI``.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from sentence_transformers import CrossEncoder

from examples.common import load_bi_encoder

LABELS = ("entailment", "contradiction", "neutral")
TEXTS = (
    "The ferry to the island leaves at nine.",
    "At nine the ferry leaves for the island.",
    "The ferry to the island doesn't leave at nine.",
    "Bread is baked at night.",
)
CLAIM = "No ferry leaves at nine."


class Match(NamedTuple):
    """Two texts by their positions, the bi-encoder's cosine and the pair model's similarity."""

    first: int
    second: int
    cosine: float
    similarity: float


class Similarity:
    """An STS-style model: how much two texts mean the same, from 0 to 1.

    :param model: A hub id or a folder, with one label.
    :raises ValueError: If the model has several labels.
    """

    def __init__(self, model: str) -> None:
        self._model = CrossEncoder(model, device="cpu")
        if self._model.num_labels != 1:
            raise ValueError(f"an STS-style model must have 1 label, and {model} has {self._model.num_labels}")

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return one similarity for each pair; STS models are symmetric only on average, so both orders count."""
        both = [*pairs, *((second, first) for first, second in pairs)]
        values = self._model.predict(both, activation_fn=torch.nn.Sigmoid()) if both else []
        return [float(values[place] + values[place + len(pairs)]) / 2 for place in range(len(pairs))]


def near_duplicates(
    texts: Sequence[str], similarity: Similarity, cosine: float = 0.8, threshold: float = 0.8
) -> list[Match]:
    """Return pairs that mean the same: the bi-encoder proposes them, the pair model decides.

    Copies with few changed words need no model: ``Selection(duplicates="near")`` drops them.

    :param texts: The texts; all pairs are compared by their vectors.
    :param similarity: The pair model.
    :param cosine: The least cosine of a proposed pair.
    :param threshold: The least similarity of a returned pair.
    """
    if len(texts) < 2:
        return []
    vectors = load_bi_encoder().embed_passages(texts)
    cosines = vectors @ vectors.T
    proposed = [(i, j) for i, j in combinations(range(len(texts)), 2) if cosines[i, j] >= cosine]
    values = similarity([(texts[i], texts[j]) for i, j in proposed])
    matches = [Match(i, j, float(cosines[i, j]), value) for (i, j), value in zip(proposed, values, strict=True)]
    return sorted((match for match in matches if match.similarity >= threshold), key=lambda match: -match.similarity)


def cached_answer(question: str, answers: Mapping[str, str], similarity: Similarity, threshold: float) -> str | None:
    """Return the answer of an earlier question that means the same, or None.

    A cosine alone takes "how do I cancel" for "how do I not cancel"; the pair model is the check.
    """
    earlier = list(answers)
    if not earlier:
        return None
    encoder = load_bi_encoder()
    nearest = earlier[int((encoder.embed_passages(earlier) @ encoder.embed_passages([question])[0]).argmax())]
    return answers[nearest] if similarity([(question, nearest)])[0] >= threshold else None


class ClaimCheck:
    """An NLI model: entailment, contradiction and neutral as separate probabilities.

    :param model: A hub id or a folder, whose configuration names the three labels.
    :raises ValueError: If it doesn't.
    """

    def __init__(self, model: str) -> None:
        self._model = CrossEncoder(model, device="cpu")
        names = {int(column): str(name).lower() for column, name in self._model.config.id2label.items()}
        self._columns = {label: column for column, name in names.items() for label in LABELS if name == label}
        if set(self._columns) != set(LABELS):
            raise ValueError(f"an NLI model's id2label must name {', '.join(LABELS)}, and {model} has {names}")

    def check(self, claim: str, evidence: Sequence[str]) -> list[dict[str, float]]:
        """Return the three probabilities for each text; the text is the premise, the claim the hypothesis."""
        if not evidence:
            return []
        rows = self._model.predict([(text, claim) for text in evidence], apply_softmax=True)
        return [{label: float(row[column]) for label, column in self._columns.items()} for row in rows]


def main(sts: str | None = None, nli: str | None = None) -> None:
    """Print what the models say of a few texts; without models, what the bi-encoder alone says."""
    vectors = load_bi_encoder().embed_passages(TEXTS)
    print("cosines to the first text:", *(f"{value:.2f}" for value in vectors @ vectors[0]))
    print("a bi-encoder alone can't tell the paraphrase from the negation")
    if sts is None or nli is None:
        print("name an STS-style model and an NLI model to go on")
        return
    similarity = Similarity(sts)
    for match in near_duplicates(TEXTS, similarity, threshold=0.5):
        print(f"{match.similarity:.2f}  {TEXTS[match.first]} = {TEXTS[match.second]}")
    print("cached:", cached_answer(TEXTS[1], {TEXTS[0]: "yes"}, similarity, 0.5))
    for text, labels in zip(TEXTS, ClaimCheck(nli).check(CLAIM, TEXTS), strict=True):
        print(", ".join(f"{label} {value:.2f}" for label, value in labels.items()), text)


if __name__ == "__main__":
    main(*sys.argv[1:3])

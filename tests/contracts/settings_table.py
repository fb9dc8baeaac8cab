"""The settings of selection, scorers around scorers, fusion and both integrations, two values each, and how they apply.

A setting has the name that it has in the integrations. A new setting is one more row: every pair with it is then tried.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from worlds import Failing

from secondpass import (
    Cached,
    Candidate,
    Cascade,
    ContextBudget,
    CoveredMass,
    Fallback,
    LargestGap,
    LoadOptions,
    OverlapScorer,
    Ranking,
    ReciprocalRank,
    Reranker,
    Selection,
    WeightedSum,
    Windowed,
    Windows,
    langchain,
    llama_index,
)
from secondpass.scoring.scorer import Scorer

QUERY = "red fox jumps high"
WORDS = re.findall(
    r"\w+",
    """able basin cedar delta ember fable gentle harbor inland jolly kettle lantern meadow nimble orchard pebble quiet
    ripple saddle timber under velvet willow yonder zephyr anchor bramble copper dapple feather""",
)


def count_words(text: str) -> int:
    """Count words and marks, as the budgets of the table do."""
    return len(re.findall(r"\w+|[^\w\s]", text))


@dataclass(frozen=True)
class Setting:
    """One row.

    :param values: The values by a short label.
    :param needs: Settings without which it would have no effect; the other setting of a pair comes first.
    :param of: The interfaces that have it.
    """

    values: Mapping[str, Any]
    needs: Mapping[str, Any] = field(default_factory=dict)
    of: tuple[str, ...] = ("python", "langchain", "llama_index")


BOTH = ("langchain", "llama_index")
SETTINGS: dict[str, Setting] = {
    "top_n": Setting({"2": 2, "none": None}),
    "budget": Setting(
        {
            "40": ContextBudget(40, count_words),
            "25 with titles": ContextBudget(25, count_words, separator="\n", template="[{title}] {text}"),
        }
    ),
    "min_probability": Setting({"0.3": 0.3, "0.8": 0.8}),
    "min_keep": Setting({"1": 1, "3": 3}, {"min_probability": 0.9}),
    "policy": Setting(
        {name: name for name in ("fill", "prefix", "truncate", "extract")}, {"budget": ContextBudget(40, count_words)}
    ),
    "duplicates": Setting({"near": "near", "keep": "keep"}),
    "near": Setting({"0.6": 0.6, "0.95": 0.95}, {"duplicates": "near"}),
    "diversity": Setting({"0.3": 0.3, "0.8": 0.8}),
    "adaptive": Setting({"gap": LargestGap(0.1), "mass": CoveredMass(0.7)}),
    "order": Setting({"original": "original", "ends": "ends"}),
    "fusion": Setting({"first stage alone": WeightedSum(1.0), "ranks": ReciprocalRank(k=2.0)}),
    "deadline_ms": Setting({"0": 0.0, "60000": 60_000.0}),
    "on_error": Setting({"raise": "raise", "degrade": "degrade"}),
    "exclude": Setting({"two": ["c0", "c3"], "none": []}),
    "windows": Setting({"12": Windows(max_tokens=12), "mean of 20": Windows(max_tokens=20, pooling="mean")}),
    "cache": Setting({"large": 1000, "small": 2}),
    "cascade": Setting({"8": 8, "half": 0.5}),
    "fallback": Setting({"first fails": True, "first answers": False}),
    "score_text": Setting({"with title": "{title}: {text}", "title": "{title}"}, of=BOTH),
    "source_key": Setting({"file": "file", "title": "title"}, of=BOTH),
    "max_per_source": Setting({"1": 1, "2": 2}, {"source_key": "file"}, of=BOTH),
    "signal_keys": Setting({"votes": ("votes",), "none": ()}, of=BOTH),
    "add_metadata": Setting({"no": False, "yes": True}, of=BOTH),
    "score_key": Setting({"stage1": "stage1", "votes": "votes"}, of=("langchain",)),
    "metadata_mode": Setting({"none": MetadataMode.NONE, "llm": MetadataMode.LLM}, of=("llama_index",)),
    "keep_retrieval_score": Setting({"yes": True, "no": False}, of=("llama_index",)),
}
PAIRS = list(combinations(SETTINGS, 2))

REFUSED: dict[tuple[str, str], dict[str, Any]] = {
    ("model", "reranker"): {"model": "nano", "reranker": Reranker(OverlapScorer())},
    ("max_length", "model"): {"model": "tei:@http://127.0.0.1:9", "max_length": 64},
    ("fusion", "reranker"): {"fusion": WeightedSum(), "reranker": Reranker(OverlapScorer())},
    ("windows", "model"): {"model": OverlapScorer(), "windows": True},
    ("near", "duplicates"): {"selection": {"near": 0.9, "duplicates": "keep"}},
    ("top_n", "selection"): {"selection": Selection(top_n=3), "top_n": 4},
    ("device", "options"): {"options": LoadOptions(device="cpu"), "device": "cpu"},
}
"""What the page on Python lists as refused, each with settings of an integration that show it."""


@dataclass(frozen=True)
class Case:
    """Two settings with their values, over one list of candidates."""

    settings: Mapping[str, Any]
    candidates: tuple[Candidate, ...]

    @property
    def complete(self) -> dict[str, Any]:
        """The settings with those that they need."""
        needed: dict[str, Any] = {}
        for name in self.settings:
            needed |= SETTINGS[name].needs
        return needed | dict(self.settings)

    @property
    def interfaces(self) -> list[str]:
        """The interfaces that have both settings."""
        return [one for one in ("python", *BOTH) if all(one in SETTINGS[name].of for name in self.settings)]

    def rank(self, interface: str) -> Ranking:
        """Return the ranking of one interface."""
        return self.run(interface)[0]

    def run(self, interface: str) -> tuple[Ranking, list[dict[str, Any]]]:
        """Return the ranking of one interface, and the metadata of what an integration returns."""
        settings = self.complete
        exclude = settings.pop("exclude", [])
        scorer = _scorer(settings)
        if interface == "python":
            return _reranker(scorer, settings).rerank(QUERY, self.candidates, exclude=exclude), []
        if interface == "langchain":
            documents = [Document(c.text, id=c.id, metadata=dict(c.metadata)) for c in self.candidates]
            compressor = langchain.SecondPassRerank(model=scorer, **{"score_key": "stage1"} | of_integration(settings))
            ranking = compressor.rank(documents, QUERY, exclude=exclude)
            found = compressor.documents(ranking)
            assert [document.id for document in found] == [k.candidate.id for k in ranking]
            return ranking, [document.metadata for document in found]
        hidden = {f"excluded_{reader}_metadata_keys": ["file", "stage1", "votes"] for reader in ("llm", "embed")}
        nodes = [TextNode(text=c.text, id_=str(c.id), metadata=dict(c.metadata), **hidden) for c in self.candidates]
        scored = [NodeWithScore(node=node, score=c.score) for node, c in zip(nodes, self.candidates, strict=True)]
        postprocessor = llama_index.SecondPassRerank(model=scorer, **of_integration(settings))
        ranking = postprocessor.rank(scored, QUERY, exclude=exclude)
        kept = postprocessor.nodes(ranking)
        assert [node.node.node_id for node in kept] == [k.candidate.id for k in ranking]
        return ranking, [node.node.metadata for node in kept]


def of_integration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as an integration takes them: in ``selection``, where it has no field of the name."""
    rare = {"min_keep", "near", "diversity", "adaptive", "order"} & settings.keys()
    rare |= {"duplicates"} if "near" in rare else set()  # one has no effect without the other
    own = {name: value for name, value in settings.items() if name not in rare}
    return own | ({"selection": Selection(**{name: settings[name] for name in rare})} if rare else {})


def _scorer(settings: dict[str, Any]) -> Scorer:
    """Return the scorer with what is around it, from the inside: cache, cascade, fallback."""
    scorer: Scorer = OverlapScorer()
    entries, keep, fails = (settings.pop(name, None) for name in ("cache", "cascade", "fallback"))
    if entries is not None:
        scorer = Cached(scorer, max_entries=entries)
    if keep is not None:
        scorer = Cascade(OverlapScorer(), scorer, keep=keep)
    if fails is not None:
        scorer = Fallback(Failing(), scorer) if fails else Fallback(scorer, Failing())
    return scorer


def _reranker(scorer: Scorer, settings: dict[str, Any]) -> Reranker:
    """Return the reranker of plain Python, with the integrations' default limit."""
    reranking = {name: settings.pop(name) for name in ("fusion", "deadline_ms", "on_error") if name in settings}
    windows = settings.pop("windows", None)
    limited = {"top_n", "budget"} & settings.keys()
    selection = Selection(**settings)
    if not limited and selection.min_probability is not None:
        selection = replace(selection, max_unscored=5)
    elif not limited:
        selection = replace(selection, top_n=5)
    return Reranker(Windowed(scorer, windows) if windows else scorer, selection=selection, **reranking)


def candidates(seed: str) -> tuple[Candidate, ...]:
    """Return random candidates: short and long ones, copies, near-copies, and equal texts under different titles."""
    draw = random.Random(seed)
    texts: list[tuple[str, str]] = []  # with their titles
    for number in range(6):
        words = draw.sample(WORDS, draw.randint(6, 12)) + draw.sample(QUERY.split(), draw.randint(0, 4))
        draw.shuffle(words)
        texts.append((f"{' '.join(words).capitalize()}.", f"title{number % 4}"))
    near = draw.sample(WORDS, 22) + draw.sample(QUERY.split(), 3)
    draw.shuffle(near)
    texts += [(f"{' '.join([*near[:12], word, *near[12:]]).capitalize()}.", "title1") for word in ("rather", "quite")]
    for _ in range(2):
        sentences = [" ".join(draw.sample(WORDS, 9)).capitalize() for _ in range(7)]
        sentences.insert(draw.choice([0, 3, 6]), " ".join(draw.sample(QUERY.split(), 3) + draw.sample(WORDS, 3)))
        texts.append((". ".join(sentences) + ".", "title2"))
    texts += [texts[1], texts[6], (texts[2][0], "title9")]  # copies, and the same text under another title
    draw.shuffle(texts)
    scores = [draw.random() for _ in texts]
    return tuple(
        Candidate(text, id=f"c{place}", score=score, metadata=_metadata(title, score, place))
        for place, ((text, title), score) in enumerate(zip(texts, scores, strict=True))
    )


def _metadata(title: str, score: float, place: int) -> dict[str, Any]:
    return {"title": title, "file": f"{title}.txt", "stage1": score, "votes": place % 5}

"""Rankings that stay as they are while the code around them changes; ``golden.json`` holds what they were.

usage: PYTHONPATH=tests:tests/contracts python -m golden    writes the file anew, which a commit gives its reason for

``overlap`` cases are exact. ``nano`` cases hold within ``TOLERANCE``, since processors differ: their candidates' scores
differ by more than 0.1, which ``main`` checks, so that their order doesn't.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from llama_index.core.schema import NodeWithScore, TextNode
from settings_table import BOTH, PAIRS, QUERY, SETTINGS, Case, candidates, count_words
from worlds import Failing, Scripted

from secondpass import (
    Cached,
    Candidate,
    Cascade,
    ContextBudget,
    OverlapScorer,
    Ranking,
    Reranker,
    Selection,
    Unscored,
    UnscoredReason,
    WeightedSum,
    Windowed,
    Windows,
    langchain,
    llama_index,
    load_scorer,
)
from secondpass.errors import ConfigurationError

FILE = Path(__file__).with_name("golden.json")
TOLERANCE = 0.02
MODULES = (
    "secondpass",
    *(f"secondpass.{name}" for name in ("langchain", "llama_index", "evaluation", "training", "optimize", "observe")),
    *(f"secondpass.{name}" for name in ("cluster", "serve", "scorers.remote")),
)
Cases = dict[str, Callable[[], Any]]

FLEAS = "how long does a flea live without a host?"
PASSAGES = (
    "Fleas jump up to two hundred times the length of their body.",
    (
        "Without a host, adult fleas die within one to two weeks. Cocoons are another matter: in them, a flea can wait "
        "for five months until warmth and vibrations tell of an animal. Then it leaves the cocoon within seconds."
    ),
    "The museum is open from ten to six, and on Thursdays until nine.",
    "A cat's coat is to be combed every day while the treatment lasts.",
    "The life cycle of a flea has four stages: egg, larva, pupa and adult.",
    "Ticks, unlike fleas, survive for years between two meals, and wait for their host in the grass.",
    "Mosquitoes live for about two months.",
)


def overlap_cases() -> Cases:
    """Return the cases scored by words: each value of each setting, a third of their pairs, calls, and failures."""
    cases: Cases = {}
    for name, setting in SETTINGS.items():
        given = candidates(name)
        for label, value in setting.values.items():
            case = Case({name: value}, given)
            cases |= {f"{name}={label}, {interface}": _of_case(case, interface) for interface in case.interfaces}
    order = cycle(("python", *BOTH))
    for number, pair in enumerate(PAIRS[::3]):
        labels = [[*SETTINGS[name].values][number % len(SETTINGS[name].values)] for name in pair]
        values = {name: SETTINGS[name].values[label] for name, label in zip(pair, labels, strict=True)}
        case = Case(values, candidates(" ".join(pair)))
        interface = next(one for one in order if one in case.interfaces) if case.interfaces else ""
        if interface:
            named = ", ".join(f"{name}={label}" for name, label in zip(pair, labels, strict=True))
            cases[f"{named}, {interface}"] = _of_case(case, interface)
    return cases | _calls() | _failures()


def _of_case(case: Case, interface: str) -> Callable[[], Any]:
    def run() -> Any:
        try:
            ranking, metadata = case.run(interface)
        except ConfigurationError:
            return "refused"
        return compact(ranking) | ({"metadata": metadata[:2]} if metadata else {})

    return run


def _calls() -> Cases:
    """Return what one call overrides, in each interface."""
    given = candidates("calls")
    documents = [Document(one.text, id=one.id, metadata=dict(one.metadata)) for one in given]
    nodes = [NodeWithScore(node=TextNode(text=one.text, id_=str(one.id)), score=one.score) for one in given]
    reranker, near = Reranker(OverlapScorer()), Selection(top_n=3, duplicates="near")
    compressor = langchain.SecondPassRerank(reranker=reranker, budget=ContextBudget(60, count_words))
    postprocessor = llama_index.SecondPassRerank(reranker=reranker, top_n=4)
    asked: dict[str, Any] = {"query": QUERY, "documents": documents}

    def invoked(**keys: Any) -> Callable[[], Any]:
        return lambda: [[one.id, one.page_content, one.metadata] for one in compressor.invoke(asked | keys)]

    return {
        "call: a budget": invoked(budget=20),
        "call: a history": invoked(history=[HumanMessage("one two three")], budget=ContextBudget(30, count_words)),
        "call: excluded ids": invoked(exclude=["c1", "c2"]),
        "call: top_n": lambda: compact(compressor.rank(documents, QUERY, top_n=2)),
        "call: a selection": lambda: compact(reranker.rerank(QUERY, given, selection=near)),
        "call: excluded nodes": lambda: compact(
            postprocessor.rank(nodes, QUERY, exclude=postprocessor.rank(nodes, QUERY))
        ),
        "call: several queries": lambda: [
            compact(one) for one in reranker.rerank_many([(QUERY, given[:4]), ("anchor", given[4:8])])
        ],
        "call: nothing": lambda: compact(reranker.rerank(QUERY, [])),
    }


def _failures() -> Cases:
    """Return rankings that are marked: failures, no score, nothing that fits."""
    given = candidates("failures")
    texts = [one.text for one in given]
    odd = Scripted(
        {
            texts[0]: Unscored(UnscoredReason.INVALID),
            texts[1]: Unscored(UnscoredReason.DEADLINE),
            texts[2]: Unscored(UnscoredReason.EMPTY),
            texts[3]: 4.0,
            texts[4]: 1.0,
        }
    )
    best = [Candidate(f"{QUERY} {texts[0]}"), Candidate("red fox"), Candidate("a whale")]

    def of(reranker: Reranker, query: str = QUERY, asked: Any = given) -> Callable[[], Any]:
        return lambda: compact(reranker.rerank(query, asked))

    return {
        "failure: of the scorer": of(Reranker(Failing())),
        "failure: no query": of(Reranker(OverlapScorer()), " "),
        "failure: outcomes without a score": of(Reranker(odd, selection=Selection(min_probability=0.6))),
        "failure: the best doesn't fit": of(
            Reranker(OverlapScorer(), selection=Selection(budget=ContextBudget(6, count_words))), asked=best
        ),
        "failure: nothing fits": of(
            Reranker(OverlapScorer(), selection=Selection(budget=ContextBudget(1, count_words)))
        ),
        "failure: empty texts": of(Reranker(OverlapScorer()), asked=["", " ", "red fox"]),
    }


def model_cases() -> Cases:
    """Return the cases scored by ``nano``."""
    nano = load_scorer("nano", device="cpu")
    given = [Candidate(text, id=str(place), score=1 / (place + 1)) for place, text in enumerate(PASSAGES)]
    cached = Cached(nano)
    scorers = {
        "alone": nano,
        "cache, first": cached,
        "cache, again": cached,
        "cascade": Cascade(OverlapScorer(), nano, keep=4),
        "windows": Windowed(nano, Windows(max_tokens=24)),
    }
    selections = {
        "everything": Selection(),
        "top 3": Selection(top_n=3),
        "probable": Selection(min_probability=0.5),
        **{
            policy: Selection(budget=ContextBudget(40, count_words), policy=policy)  # type: ignore[arg-type]
            for policy in ("fill", "prefix", "truncate", "extract")
        },
    }
    cases: Cases = {}
    for scorer_name, scorer in scorers.items():
        for name, selection in selections.items():
            reranker = Reranker(scorer, selection=selection)
            cases[f"nano {scorer_name}, {name}"] = lambda reranker=reranker: compact(reranker.rerank(FLEAS, given))
    fused = Reranker(nano, fusion=WeightedSum(0.5))
    return cases | {"nano fused": lambda: compact(fused.rerank(FLEAS, given))}


def compact(ranking: Ranking) -> dict[str, Any]:
    """Return ``to_dict`` without what the case gives, what is usual, and None; of stages the names alone."""
    data = ranking.to_dict()
    given = {item.index: item.candidate for item in (*ranking.kept, *ranking.dropped)}
    for item in (*data["kept"], *data["dropped"]):
        text = given[item["index"]].text
        for name in ("id", "source", "first_stage_score"):
            del item[name]
        item["windows"] = [list(window.values())[:3] for window in item.get("windows", ())] or None
        usual = {"text": text, "spans": [[0, len(text)]], "truncated": 0, "cut": 0, "detail": ""}
        for name in [name for name, value in item.items() if value is None or usual.get(name) == value]:
            del item[name]
    data["stages"] = [stage["name"] for stage in data["stages"]]
    del data["query"]
    return {name: value for name, value in data.items() if value not in (None, [])}


def names() -> dict[str, list[str]]:
    """Return the public names."""
    return {module: sorted(importlib.import_module(module).__all__) for module in MODULES}


def rounded(value: Any) -> Any:
    """Return plain data with numbers of six decimal places, as JSON gives them back."""
    if isinstance(value, dict):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the file's text, a case a line, so that a change shows as the cases that it changes."""
    yield "{\n"
    yield ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in found.items())
    yield "\n}\n"


def main() -> None:
    """Write the file.

    :raises ValueError: If two scores of a model's case are too near each other.
    """
    values = sorted(score.value for score in load_scorer("nano", device="cpu").score(FLEAS, PASSAGES))  # type: ignore[union-attr]
    if min(high - low for low, high in pairwise(values)) <= 0.1:
        raise ValueError(f"the scores of the passages must differ by more than 0.1, got {values}")
    found = {name: rounded(run()) for name, run in (overlap_cases() | model_cases()).items()}
    FILE.write_text("".join(lines(found | {"names": names()})), encoding="utf-8")


if __name__ == "__main__":
    main()

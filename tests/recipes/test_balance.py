"""A corpus evened out by the teacher's scores: no bin holds more than its share, and nothing rare is lost."""

import json
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import balance
from recipes.balance import BIN, balanced, drawn, histogram
from secondpass import load_scorer
from secondpass.scores import Score
from secondpass.training import Group, read_groups

SCORES = st.lists(st.lists(st.floats(-12, 12), min_size=1, max_size=6), min_size=1, max_size=40)


def groups_for(scores: list[list[float]]) -> list[Group]:
    return [
        Group(f"query {n}", tuple(f"text {n} {i}" for i in range(len(own))), tuple(range(len(own))))
        for n, own in enumerate(scores)
    ]


@given(SCORES, st.floats(0.05, 1), st.integers(0, 5))
def test_no_bin_holds_more_than_its_share_and_small_ones_stay_whole(
    scores: list[list[float]], share: float, seed: int
) -> None:
    """Of each bin of two logits as many stay as its share allows, or all; texts keep their labels and their order."""
    groups = groups_for(scores)
    kept = balanced(groups, scores, share, seed)
    scored = zip((text for group in groups for text in group.texts), chain.from_iterable(scores), strict=True)
    value = dict(scored)
    before, after = (Counter(value[text] // BIN for group in some for text in group.texts) for some in (groups, kept))
    most = int(share * len(value))
    assert after == +Counter({key: min(most, count) for key, count in before.items()})
    by_query = {group.query: group for group in groups}
    for group in kept:
        places = [by_query[group.query].texts.index(text) for text in group.texts]
        assert places == sorted(set(places))
        assert group.labels == tuple(places)


def test_the_same_seed_keeps_the_same() -> None:
    """Another seed keeps others where there is something to choose."""
    scores = [[-11.0] * 6, [0.5] * 6]
    groups = groups_for(scores)
    assert balanced(groups, scores, 0.25, 3) == balanced(groups, scores, 0.25, 3)
    assert len({tuple(balanced(groups, scores, 0.25, other)) for other in range(8)}) > 1


def test_more_groups_are_the_same_ones_and_others() -> None:
    """A larger draw begins with the smaller one, so that what was scored stays of use."""
    groups = groups_for([[0.0]] * 30)
    assert drawn(groups, 20)[:10] == drawn(groups, 10)
    assert drawn(groups, 10) != groups[:10]
    assert sorted(group.query for group in drawn(groups, 99)) == sorted(group.query for group in groups)


def test_the_command_writes_a_corpus_with_its_provenance(
    tiny_torch_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written can be read as groups; the manifest keeps the sources, and tells what was drawn and kept."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    groups = [Group(f"what is the {word}", ("the cat", "the dog can eat", "a fish")) for word in ("fox", "bee", "sea")]
    lines = [json.dumps({"query": group.query, "texts": group.texts}) + "\n" for group in groups]
    for name in ("train", "validation"):
        (corpus / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (corpus / "manifest.json").write_text(json.dumps({"sources": ["somewhere"]}), encoding="utf-8")
    arguments = ["--corpus", corpus, "--teacher", tiny_torch_folder, "--out", tmp_path / "out", "--share", "0.5"]
    arguments += ["--max-length", "64"]
    monkeypatch.setattr(sys, "argv", ["balance", *map(str, arguments)])
    balance.main()
    told = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    kept = read_groups(tmp_path / "out" / "train.jsonl")
    scorer = load_scorer(str(tiny_torch_folder), max_length=64)
    found = [[o.value for o in scorer.score(group.query, group.texts) if isinstance(o, Score)] for group in groups]
    assert told["sources"] == ["somewhere"]
    assert told["balanced"]["drawn"] == {"groups": 3, "pairs": 9}
    assert told["balanced"]["kept"]["pairs"] == sum(len(group.texts) for group in kept)
    assert list(told["balanced"]["pairs by the teacher's logit, from"].values()) == list(histogram(found).values())
    assert (tmp_path / "out" / "validation.jsonl").read_text() == (corpus / "validation.jsonl").read_text()

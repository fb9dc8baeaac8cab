"""Evens out a corpus by the teacher's scores: what is mined for made questions is mostly far from the mark.

usage: python -m recipes.balance --corpus FOLDER --teacher FOLDER_OR_HUB_ID --out FOLDER [--groups N] [--share S]

Half of all mined pairs are plainly irrelevant to the teacher, and a student learns little from one more of them; what
a retriever finds for people's questions is spread over the whole scale. Pairs are scored (in a file beside the output,
so that a run that was killed goes on), sorted into bins of two logits, and no bin keeps more than its share.
"""

import argparse
import json
import math
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from recipes.corpus.manifest import file_record
from secondpass import load_scorer
from secondpass.training import Group, read_groups
from secondpass.training.store import ScoreStore

BIN = 2.0  # logits
SHARE = 0.06  # of all pairs, at most, in one bin
GROUPS = 8000
SEED = 11


def main() -> None:
    """Read the command line, score, and write the corpus anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, required=True, help="what recipes.corpus left")
    parser.add_argument("--teacher", required=True, help="its int8 form will do, and is the quickest")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=GROUPS, help="how many groups to draw from")
    parser.add_argument("--share", type=float, default=SHARE, help="of all pairs, at most, in one bin")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a pair that the teacher reads")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    groups = drawn(read_groups(arguments.corpus / "train.jsonl"), arguments.groups)
    scorer = load_scorer(arguments.teacher, max_length=arguments.max_length)
    store = ScoreStore(arguments.out / "teacher-scores.sqlite")
    scores = store.score_groups(scorer, groups, "train", progress=True)
    write(arguments.corpus, balanced(groups, scores, arguments.share), scores, arguments.out)


def write(corpus: Path, kept: Sequence[Group], scores: Sequence[Sequence[float]], out: Path) -> None:
    """Write train.jsonl, the corpus's own validation.jsonl, and its manifest with what was done; the manifest last."""
    rows = [{"query": group.query, "texts": group.texts} | _labels(group) for group in kept]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "train.jsonl").write_text(lines, encoding="utf-8")
    shutil.copyfile(corpus / "validation.jsonl", out / "validation.jsonl")
    record = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    record["balanced"] = {
        "drawn": {"groups": len(scores), "pairs": sum(map(len, scores))},
        "kept": {"groups": len(kept), "pairs": sum(len(group.texts) for group in kept)},
        "pairs by the teacher's logit, from": {str(key * BIN): count for key, count in histogram(scores).items()},
        "files": [file_record(out / f"{name}.jsonl", out) for name in ("train", "validation")],
    }
    (out / "manifest.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def histogram(scores: Sequence[Sequence[float]]) -> dict[int, int]:
    """Return how many pairs each bin of ``BIN`` logits holds, in the order of the bins."""
    return dict(sorted(Counter(math.floor(score / BIN) for own in scores for score in own).items()))


def drawn(groups: Sequence[Group], count: int, seed: int = SEED) -> list[Group]:
    """Return so many groups in drawn order; with a larger count, the same ones first."""
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    return [groups[index] for index in order[:count]]


def balanced(
    groups: Sequence[Group], scores: Sequence[Sequence[float]], share: float = SHARE, seed: int = SEED
) -> list[Group]:
    """Return the groups with the texts that are kept; one of which nothing is kept is left out.

    :param groups: The groups.
    :param scores: The teacher's raw scores, a list for each group.
    :param share: The largest part of all pairs that a bin of ``BIN`` logits may hold; what is over is drawn out.
    """
    bins: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, own in enumerate(scores):
        for position, score in enumerate(own):
            bins[math.floor(score / BIN)].append((number, position))
    most = int(share * sum(map(len, bins.values())))
    rng = random.Random(seed)
    chosen = chain.from_iterable(rng.sample(bins[key], min(most, len(bins[key]))) for key in sorted(bins))
    kept: dict[int, list[int]] = defaultdict(list)
    for number, position in chosen:
        kept[number].append(position)
    return [_only(groups[number], sorted(kept[number])) for number in sorted(kept)]


def _only(group: Group, positions: Sequence[int]) -> Group:
    labels = group.labels
    return Group(
        group.query,
        tuple(group.texts[position] for position in positions),
        None if labels is None else tuple(labels[position] for position in positions),
    )


def _labels(group: Group) -> dict[str, Sequence[int]]:
    return {} if group.labels is None else {"labels": group.labels}


if __name__ == "__main__":
    main()

"""The torch engine against ``CrossEncoder.predict``: same weights, same pairs, one run, the order alternated.

usage: python -m benchmarks.torch_speed CANDIDATES.json CHECKPOINT [REPETITIONS] [wall | cpu] [predict | padded]

With "cpu" times are processor seconds of one thread, for a busy machine. With "padded" the other side is this engine
without packing.

Every repetition takes the 100 candidates of another question. "passages" are the candidates as they are; "mixed"
are 100 texts for the same question whose lengths are spread evenly on a logarithmic scale from 16 to 512 tokens,
made by joining and cutting candidates. Both sides get the same strings and give raw logits.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder

from secondpass import LoadOptions, load_scorer
from secondpass.records import Pair, Score

CANDIDATES = 100
LONGEST = 512
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main(
    candidates_file: str, checkpoint: str, repetitions: str = "7", clock: str = "wall", rival: str = "predict"
) -> None:
    """Print seconds and the ratio for each kind of candidates."""
    if clock == "cpu":
        torch.set_num_threads(1)
    topics = json.loads(Path(candidates_file).read_text(encoding="utf-8"))
    model = CrossEncoder(checkpoint, device="cpu", max_length=LONGEST)
    options = LoadOptions(threads=1 if clock == "cpu" else None)
    scorer = load_scorer(checkpoint, engine="torch", device="cpu", options=options)

    padded = load_scorer(checkpoint, engine="torch", device="cpu", options=replace(options, packed=False))

    def theirs(pairs: Sequence[Pair]) -> list[float]:
        if rival == "padded":
            return [o.value for o in padded.score_pairs(pairs).outcomes if isinstance(o, Score)]
        return model.predict(
            [tuple(pair) for pair in pairs], activation_fn=torch.nn.Identity(), show_progress_bar=False
        ).tolist()

    def ours(pairs: Sequence[Pair]) -> list[float]:
        return [o.value for o in scorer.score_pairs(pairs).outcomes if isinstance(o, Score)]

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {scorer!r}")
    for kind, make in (("passages", passages), ("mixed", mixed)):
        sets = [make(topics, number) for number in range(int(repetitions) + 1)]
        tokens = statistics.mean(scorer.count_tokens([pair.text for pair in sets[1]]))
        compare(rival, f"{kind} ({tokens:.0f} tokens on average)", sets, (theirs, ours), CLOCKS[clock])


def compare(
    rival: str, kind: str, sets: list[list[Pair]], sides: tuple[Callable, Callable], clock: Callable[[], float]
) -> None:
    """Run both sides on each set, the first set as warm-up, and print medians."""
    theirs, ours = sides
    times: dict[Callable, list[float]] = {theirs: [], ours: []}
    worst = 0.0
    for repetition, pairs in enumerate(sets):
        answers = {}
        for side in (theirs, ours) if repetition % 2 else (ours, theirs):
            started = clock()
            answers[side] = side(pairs)
            times[side].append(clock() - started)
        worst = max(worst, *(abs(a - b) for a, b in zip(answers[theirs], answers[ours], strict=True)))
    a, b = times[theirs][1:], times[ours][1:]
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    print(
        f"{kind}: {rival} {statistics.median(a):.2f} s, secondpass {statistics.median(b):.2f} s, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), largest difference {worst:.1e}",
        flush=True,
    )


def passages(topics: list, number: int) -> list[Pair]:
    """Return one question's candidates."""
    topic = topics[number]
    return [Pair(topic["query"], hit["content"]) for hit in topic["hits"][:CANDIDATES]]


def mixed(topics: list, number: int) -> list[Pair]:
    """Return candidates whose lengths are spread evenly on a logarithmic scale."""
    chance = random.Random(number)
    words = " ".join(hit["content"] for hit in topics[number]["hits"]).split()
    texts = []
    for _ in range(CANDIDATES):
        length = int(16 * (LONGEST / 16) ** chance.random() / 1.25)  # words; a word is about 1.25 tokens
        start = chance.randrange(len(words) - length)
        texts.append(" ".join(words[start : start + length]))
    return [Pair(topics[number]["query"], text) for text in texts]


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Memory of ``rerank_many`` over a stream of short pairs, by ``nano``.

usage: python -m benchmarks.bulk_memory [PAIRS]
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from secondpass import Reranker, Selection

QUESTION_CANDIDATES = 100
EVERY = 10_000
WORDS = "flea cat dog house river stone light water engine market hour letter".split()  # noqa: SIM905


def requests(pairs: int) -> Iterator[tuple[str, list[str]]]:
    """Yield questions with their texts, each text a new one."""
    chance = random.Random(0)
    for number in range(pairs // QUESTION_CANDIDATES):
        texts = [" ".join(chance.choices(WORDS, k=12)) + f" {number} {at}" for at in range(QUESTION_CANDIDATES)]
        yield f"what is {WORDS[number % len(WORDS)]} {number}?", texts


def main(pairs: int) -> None:
    """Print the megabytes that the process holds after each 10,000 pairs."""
    reranker, done = Reranker("nano", selection=Selection(top_n=5)), 0
    for ranking in reranker.rerank_many(requests(pairs)):
        done += len(ranking.kept) + len(ranking.dropped)
        if done % EVERY == 0:
            status = Path("/proc/self/status").read_text("utf-8")
            kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
            print(f"{done} pairs: {int(kilobytes) // 1024} MB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

"""Seconds for 100 passages at several batch ceilings, on this machine's CPU: the sweep behind the default.

usage: python -m benchmarks.batch_sweep CANDIDATES.json MODEL [REPETITIONS]
"""

import json
import statistics
import sys
import time
from pathlib import Path

from secondpass import LoadOptions, load_scorer

CEILINGS = (256, 512, 768, 1024, 2048, 4096, 16384)


def main(candidates_file: str, model: str, repetitions: str = "5") -> None:
    """Print the median seconds for each ceiling; the ceilings take turns, each repetition another question."""
    topics = json.loads(Path(candidates_file).read_text(encoding="utf-8"))
    scorers = {n: load_scorer(model, device="cpu", options=LoadOptions(batch_tokens=n)) for n in CEILINGS}
    times: dict[int, list[float]] = {ceiling: [] for ceiling in CEILINGS}
    for repetition in range(int(repetitions) + 1):
        topic = topics[repetition]
        turn = repetition % len(CEILINGS)
        for ceiling in CEILINGS[turn:] + CEILINGS[:turn]:
            started = time.perf_counter()
            scorers[ceiling].score(topic["query"], [hit["content"] for hit in topic["hits"]])
            times[ceiling].append(time.perf_counter() - started)
    print(scorers[CEILINGS[0]])
    for ceiling, seconds in times.items():
        print(f"{ceiling:>6} tokens: {statistics.median(seconds[1:]):.2f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

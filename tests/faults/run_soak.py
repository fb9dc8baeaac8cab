"""A soak: minutes of mixed load on the bundled `nano`, with memory and threads over time.

usage: python tests/faults/run_soak.py [--minutes 10] [--threads 6] [--out FILE]

Threads rerank short and long texts with and without deadlines, windows, extraction and a cache on disk, and release the
model now and then. Memory and threads are noted every ten seconds, after the first minute's warming up.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from secondpass import Cached, ContextBudget, Reranker, Selection, load_scorer

TEXT = "the adult flea lives for two or three months if it finds a host and starves within weeks without one"
WORDS = TEXT.split()
WARM_SECONDS = 60.0


def resident_mib() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def caller(seed: int, rerankers: list[Reranker], until: float, calls: Counter[str]) -> None:
    """Rerank until the time is over."""
    source = random.Random(seed)
    while time.monotonic() < until:
        length = 400 if source.random() < 0.05 else 40
        texts = [" ".join(source.choices(WORDS, k=source.randrange(1, length))) for _ in range(source.randrange(12))]
        reranker = source.choice(rerankers)
        if source.random() < 0.2:
            ranking = asyncio.run(reranker.arerank("how long does a flea live", texts))
        else:
            ranking = reranker.rerank("how long does a flea live", texts)
        calls[str(ranking.degraded.cause) if ranking.degraded else "complete"] += 1
        if source.random() < 0.002:
            reranker.scorer.release()  # type: ignore[attr-defined]  # both scorers of this program have it
        time.sleep(source.random() / 20)


def run(minutes: float, threads: int) -> dict[str, Any]:
    """Run the load, and return what was noted."""
    scorer = load_scorer("nano")
    calls: Counter[str] = Counter()
    samples: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        cached = Cached(scorer, Path(folder) / "scores.db", max_entries=5_000)
        budget = ContextBudget(200)
        rerankers = [
            Reranker(scorer, selection=Selection(top_n=5)),
            Reranker(scorer, selection=Selection(budget=budget, duplicates="near"), deadline_ms=30),
            Reranker(scorer, selection=Selection(budget=budget, policy="extract")),
            Reranker(cached, selection=Selection(budget=budget)),
        ]
        until = time.monotonic() + 60 * minutes
        started = time.monotonic()
        callers = [threading.Thread(target=caller, args=(seed, rerankers, until, calls)) for seed in range(threads)]
        for thread in callers:
            thread.start()
        while time.monotonic() < until:
            time.sleep(10)
            if time.monotonic() - started > WARM_SECONDS:
                samples.append((round(resident_mib(), 1), threading.active_count()))
        for thread in callers:
            thread.join()
        cached.release()
    memory = [mib for mib, _ in samples]
    third = max(1, len(memory) // 3)
    return {
        "minutes": minutes,
        "calls": sum(calls.values()),
        "outcomes": dict(calls),
        "mib_first_third": round(sum(memory[:third]) / third, 1),
        "mib_last_third": round(sum(memory[-third:]) / third, 1),
        "mib_most": max(memory),
        "threads": [min(count for _, count in samples), max(count for _, count in samples)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = json.dumps(run(options.minutes, options.threads), indent=1)
    print(result)
    if options.out:
        options.out.write_text(result + "\n", encoding="utf-8")

"""Fault injection: thousands of calls from many threads over engines, caches and deadlines that fail.

usage: python tests/faults/run_faults.py [--calls 10000] [--threads 16] [--out FILE]

Every call must be answered, and every candidate accounted for; the figures are printed as JSON.
"""

import argparse
import gc
import json
import math
import os
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faulty_engine import Faults, FaultyEngine

from secondpass import Call, ContextBudget, OverlapScorer, Ranking, Reranker, Selection
from secondpass.scorers.cached import Cached
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.worker import Worker, WorkerSettings

TEXT = "the adult flea lives for two or three months if it finds a host and starves within weeks without one"
WORDS = TEXT.split()
DEADLINES = (None, None, 0.0, 5.0, 50.0)  # milliseconds


@dataclass(slots=True)
class Figures:
    """What happened."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    overruns_ms: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def rerankers(folder: Path) -> tuple[list[Reranker], FaultyEngine, Worker]:
    """Return rerankers over one faulty engine: bare, with another scorer behind it, and with a cache on disk."""
    engine = FaultyEngine(Faults())
    worker = Worker("faults", WorkerSettings(max_pairs=2_000, watchdog_seconds=1.0))
    scorer = CrossEncoder(engine, worker)
    scorers = [scorer, Fallback(scorer, OverlapScorer(), retry_seconds=0.1), Cached(scorer, folder / "scores.db")]
    selection = Selection(budget=ContextBudget(200), top_n=5)
    return [Reranker(it, selection=selection) for it in scorers], engine, worker


def texts(source: random.Random) -> list[str]:
    """Return up to 30 texts, some of them empty or equal."""
    return [" ".join(source.choices(WORDS, k=source.randrange(0, 40))) for _ in range(source.randrange(0, 30))]


def one_call(number: int, choices: Sequence[Reranker], figures: Figures) -> None:
    """Rerank once, perhaps with a deadline or cancelled by another thread, and note what came of it."""
    source = random.Random(number)
    candidates, deadline = texts(source), source.choice(DEADLINES)
    call = Call(deadline)
    canceller = threading.Timer(0.005, call.cancel) if source.random() < 0.05 else None
    if canceller:
        canceller.start()
    started = time.perf_counter()
    ranking = source.choice(choices).rerank("how long does a flea live", candidates, call=call)
    elapsed = 1000 * (time.perf_counter() - started)
    with figures.lock:
        figures.answered += 1
        figures.lost += _lost(number, candidates, ranking)
        figures.outcomes[str(ranking.degraded.cause) if ranking.degraded else "complete"] += 1
        if deadline is not None:
            figures.overruns_ms.append(max(0.0, elapsed - deadline))


def _lost(number: int, candidates: Sequence[str], ranking: Ranking) -> list[str]:
    """Return what is wrong with a ranking."""
    seen = sorted(item.index for item in (*ranking.kept, *ranking.dropped))
    if seen != list(range(len(candidates))):
        return [f"call {number}: {len(candidates)} candidates, and {seen} came back"]
    scores = [kept.score for kept in ranking.kept if kept.score is not None]
    return [] if all(map(math.isfinite, scores)) else [f"call {number}: a score is not finite"]


def damage_now_and_then(path: Path, stop: threading.Event) -> None:
    """Overwrite the beginning of the cache's file, or of its log, every second."""
    while not stop.wait(1.0):
        damaged = random.choice([path, path.with_name(path.name + "-wal")])
        if damaged.exists():
            with damaged.open("r+b") as file:
                file.write(os.urandom(8192))


def run(calls: int, threads: int) -> dict[str, Any]:
    """Run the calls, and return the figures."""
    figures = Figures()
    before = {thread.name for thread in threading.enumerate()}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        choices, engine, worker = rerankers(Path(folder))
        stop = threading.Event()
        damager = threading.Thread(target=damage_now_and_then, args=(Path(folder) / "scores.db", stop))
        damager.start()
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(one_call, number, choices, figures) for number in range(calls)]:
                future.result()
        seconds = time.perf_counter() - started
        stop.set()
        damager.join()
        set_aside = len(list(Path(folder).glob("*.damaged-*")))
        stuck = worker.stuck
        for reranker in choices:
            getattr(reranker.scorer, "release", lambda: None)()
    del choices, reranker, worker
    time.sleep(FaultyEngine.HANGS_SECONDS if stuck else 0.0)  # a thread that hangs holds the frames of its call
    gc.collect()
    time.sleep(0.5)
    overruns = sorted(figures.overruns_ms)
    return {
        "calls": calls,
        "threads": threads,
        "seconds": round(seconds, 1),
        "answered": figures.answered,
        "lost": figures.lost,
        "outcomes": dict(figures.outcomes),
        "faults": engine.happened,
        "threads_replaced": stuck,
        "cache_files_set_aside": set_aside,
        "overrun_ms": {
            "median": round(statistics.median(overruns), 1),
            "p95": round(overruns[int(0.95 * len(overruns))], 1),
            "p99": round(overruns[int(0.99 * len(overruns))], 1),
            "most": round(overruns[-1], 1),
        },
        "threads_left": sorted({thread.name for thread in threading.enumerate()} - before),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = json.dumps(run(options.calls, options.threads), indent=1)
    print(result)
    if options.out:
        options.out.write_text(result + "\n", encoding="utf-8")

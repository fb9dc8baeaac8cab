"""What the remote path, the server and Ray cost: ratios within one run of this script.

python -m benchmarks.remote [--model nano] [--queries 60]
"""

import argparse
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from secondpass import LoadOptions, Reranker, Selection, load_scorer
from secondpass.scorers.remote import RemoteScorer

SELECTION = Selection(duplicates="keep")
WORDS = "flea months insect market river paper engine winter blood table garden letter".split()  # noqa: SIM905


def texts(query: int, count: int) -> list[str]:
    """Return texts of 40 words, all different: equal pairs of a call would be scored once."""
    return [" ".join(random.Random(10_000 * query + text).choices(WORDS, k=40)) for text in range(count)]


def percentile(seconds: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return 1000 * sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


@contextlib.contextmanager
def serving(model: str) -> Iterator[str]:
    """Run ``secondpass serve`` in a process of its own."""
    command = [sys.executable, "-m", "secondpass", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  the command is ours
        try:
            for line in process.stderr or ():
                if found := re.search(r"running on (http://\S+)", line):
                    yield found[1]
                    return
        finally:
            process.terminate()


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def overhead(model: str, url: str, queries: int) -> None:
    """Compare 100 candidates in this process and over HTTP, in turns."""
    sides = {"in-process": Reranker(model), "remote": Reranker(RemoteScorer("secondpass", url=url))}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for query in range(queries + 3):
        for name, reranker in sides.items():
            seconds = timed(lambda r=reranker, q=query: r.rerank("how long does a flea live", texts(q, 100)))
            if query >= 3:
                taken[name].append(seconds)
    for name, seconds in taken.items():
        print(f"{name}: p50 {percentile(seconds, 0.5):.1f} ms, p95 {percentile(seconds, 0.95):.1f} ms")
    differences = [b - a for a, b in zip(taken["in-process"], taken["remote"], strict=True)]
    print(f"difference of pairs: median {1000 * statistics.median(differences):.1f} ms")


def throughput(url: str, clients: int, requests: int) -> None:
    """Measure requests of 50 candidates by several clients."""
    reranker, seconds, numbers = Reranker(RemoteScorer("secondpass", url=url)), [], iter(range(requests))

    def client() -> None:
        while (number := next(numbers, None)) is not None:
            seconds.append(timed(lambda: reranker.rerank("how long does a flea live", texts(number, 50))))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = requests / (time.perf_counter() - started)
    print(
        f"{clients} clients: {rate:.1f} requests/s, {50 * rate:.0f} pairs/s, p50 {percentile(seconds, 0.5):.0f} ms, "
        f"p99 {percentile(seconds, 0.99):.0f} ms"
    )


def bulk(model: str, queries: int) -> None:
    """Compare ``rerank_many`` in this process, one thread, with Ray and one or two workers."""
    import ray

    from secondpass.cluster import Workers, rerank_dataset

    def rows(count: int) -> list[dict[str, Any]]:
        return [{"id": str(q), "query": "how long does a flea live", "candidates": texts(q, 50)} for q in range(count)]

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", object_store_memory=100_000_000)
    scorer = load_scorer(model, device="cpu", options=LoadOptions(threads=1))
    with tempfile.TemporaryDirectory() as folder:
        for size in (1, queries):
            path = Path(folder) / f"{size}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows(size)))
            requests = [(row["query"], row["candidates"]) for row in rows(size)]
            here = timed(lambda r=requests: list(Reranker(scorer, selection=SELECTION).rerank_many(r)))
            print(f"in-process, {50 * size} pairs: {here:.2f} s, {50 * size / here:.0f} pairs/s")
            for workers in (1, 2):
                out = Path(folder) / f"out-{size}-{workers}"
                block = -(-path.stat().st_size // 12)
                there = timed(
                    lambda p=path, o=out, w=workers, b=block: rerank_dataset(
                        p, o, model=model, workers=Workers(count=w), block_bytes=b
                    )
                )
                print(f"Ray, {workers} workers, {50 * size} pairs: {there:.2f} s, {50 * size / there:.0f} pairs/s")
    ray.shutdown()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="nano")
    parser.add_argument("--queries", type=int, default=60)
    given = parser.parse_args()
    print("load average", os.getloadavg())
    with serving(given.model) as url:
        overhead(given.model, url, given.queries)
        for clients in (1, 4, 16):
            throughput(url, clients, max(100, given.queries))
    bulk(given.model, 4 * given.queries)
    print("load average", os.getloadavg())


if __name__ == "__main__":
    main()

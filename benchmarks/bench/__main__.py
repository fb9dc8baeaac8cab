"""Measure rerankers on this machine: this package's models, and other libraries on the same weights.

usage: python -m benchmarks.bench [--models NAMES] [--checkpoint FOLDER] [--candidates NUMBERS] [--kinds NAMES]
           [--repetitions N] [--quick] [--threads N] [--cpu-time] [--no-memory] [--out FOLDER]

The order of the systems rotates, and every repetition takes another question. A system that can't be opened is skipped
with its reason. Texts are TREC DL 2019's where SECONDPASS_ASSETS names the folder with it, else Python's documentation.
FlashRank takes every processor that it sees: limit that from outside (taskset) together with --threads. Writes
bench.json and bench.md.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.bench.measure import Workload, open_sides, peaks, run
from benchmarks.bench.memory import peak_memory
from benchmarks.bench.page import as_markdown, processor
from benchmarks.bench.sides import Rerank, Side, all_sides
from benchmarks.bench.workloads import KINDS, tasks, topics_of
from secondpass.models.hardware import cpu_threads
from secondpass.scorers.load import load_scorer
from secondpass.scoring.scorer import count_tokens

ROOT = Path(__file__).parents[2]
REPETITIONS = {10: 20, 100: 8, 1000: 3}
QUICK = {10: 5, 100: 2}
OTHERWISE = 5  # repetitions
SLOW = 1000  # candidates from which float32 is left out


def main() -> None:
    """Measure, and write figures and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names, default=names("small,fast,nano"), help="bundled names or folders")
    parser.add_argument("--checkpoint", type=Path, help="float32 safetensors weights, for what runs on torch")
    parser.add_argument("--candidates", type=numbers, default=list(REPETITIONS), help="candidates of each question")
    parser.add_argument(
        "--kinds", type=names, default=list(KINDS), help="passages, chunks (150 to 512 tokens), or both"
    )
    parser.add_argument("--repetitions", type=int, help="of each workload; by default fewer for more candidates")
    parser.add_argument("--quick", action="store_true", help="few repetitions of 10 and 100 passages, without memory")
    parser.add_argument("--threads", type=int, help="CPU threads; by default one a processor")
    parser.add_argument("--cpu-time", action="store_true", help="processor seconds of one thread, for a busy machine")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="don't measure peak memory")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"--kinds must be among {', '.join(KINDS)}; got {', '.join(sorted(unknown))}")
    if given.quick:
        given.candidates, given.kinds, given.memory = list(QUICK), ["passages"], False
    result = measured(given)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (given.out / "bench.md").write_text(as_markdown(result), "utf-8")
    print(as_markdown(result))


def names(given: str) -> list[str]:
    """Return names between commas."""
    return [name.strip() for name in given.split(",")]


def numbers(given: str) -> list[int]:
    """Return whole numbers from 2 between commas.

    :raises ValueError: If one is something else.
    """
    found = [int(number) for number in given.split(",")]
    if min(found) < 2:
        raise ValueError(given)
    return found


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of all systems on all workloads."""
    threads = 1 if given.cpu_time else cpu_threads(given.threads)
    clock = time.process_time if given.cpu_time else time.perf_counter
    assets = os.environ.get("SECONDPASS_ASSETS")
    source, topics = topics_of(Path(assets) if assets else None)
    opened, skipped = open_sides(all_sides(given.models, given.checkpoint, threads))
    counter = partial(count_tokens, load_scorer("nano", device="cpu"))
    usual = QUICK if given.quick else REPETITIONS
    works = [
        Workload(topics, kind, count, given.repetitions or usual.get(count, OTHERWISE), counter, clock)
        for kind in given.kinds
        for count in given.candidates
    ]
    result: dict[str, Any] = {
        "processor": processor(),
        "threads": threads,
        "clock": "processor" if given.cpu_time else "wall",
        "source": source,
        "peaks": peaks(threads, clock),
        "skipped": skipped,
    }
    result["workloads"] = [cells(opened, work, result["peaks"]) for work in works]
    (task,) = islice(tasks(topics, given.kinds[0], 100), 1)
    result["memory_mb"] = {side.name: peak_memory(side, task) for side in opened if given.memory}
    return result


def cells(opened: Mapping[Side, Rerank], work: Workload, peak: Mapping[str, float]) -> dict[str, Any]:
    """Run one workload, and return its figures; float32 is left out where it would take too long."""
    print(f"{work.count} {work.kind} ...", flush=True)
    timed = {side: opened[side] for side in opened if work.count < SLOW or side.dtype == "int8"}
    if not timed:
        raise SystemExit("there is nothing to measure: name a model, or fewer candidates for float32")
    reference = next((side for side in timed if side.maker == "sentence_transformers"), next(iter(timed)))
    found, grades = run(timed, work)
    return {
        "kind": work.kind,
        "count": work.count,
        "repetitions": work.repetitions,
        "reference": reference.name,
        "tokens": sum(found[reference].tokens) / work.repetitions,
        "sides": {side.name: cell.figures(found[reference], grades, peak[side.dtype]) for side, cell in found.items()},
    }


if __name__ == "__main__":
    main()

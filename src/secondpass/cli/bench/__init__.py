"""``secondpass bench``: rerankers on this machine, in one run, with quality beside every speed."""

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from secondpass.cli.app import app, bars, console, one_line_errors, say
from secondpass.cli.bench.measure import Workload, open_sides, peak_memory, peaks, run
from secondpass.cli.bench.page import as_markdown, draw, processor
from secondpass.cli.bench.sides import Rerank, Side, all_sides
from secondpass.cli.bench.workloads import KINDS, tasks, topics_of
from secondpass.errors import ConfigurationError
from secondpass.scoring.hardware import cpu_threads
from secondpass.scoring.load import load_scorer
from secondpass.scoring.scorer import count_tokens

_REPETITIONS = {10: 20, 100: 8, 1000: 3}
_QUICK = {10: 5, 100: 2}
_SLOW = 1000  # candidates from which float32 is left out


@app.command(short_help="Measure rerankers on this machine.")
def bench(
    *,
    models: Annotated[str, typer.Option(help="Bundled names or folders, with commas between.")] = "small,fast,nano",
    checkpoint: Annotated[
        Path | None, typer.Option(help="float32 safetensors weights, for what runs on torch.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="JSON Lines with query and texts; by default Python's docs.")
    ] = None,
    candidates: Annotated[str, typer.Option(help="Candidates for each question, with commas between.")] = "10,100,1000",
    kinds: Annotated[str, typer.Option(help="passages, chunks (150 to 512 tokens), or both.")] = "passages,chunks",
    repetitions: Annotated[int | None, typer.Option(help="Repetitions of each; by default fewer for more.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few repetitions of 10 and 100 passages, memory aside.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default one a processor.")] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Processor seconds, for a busy machine; one thread.")
    ] = False,
    memory: Annotated[bool, typer.Option(help="Measure peak memory, each side in a process of its own.")] = True,
    out: Annotated[Path, typer.Option(help="The folder for bench.json, bench.md and bench.png.")] = Path(
        "docs/benchmarks"
    ),
) -> None:
    """Measure rerankers on this machine: this package's models, and other libraries on the same weights.

    Sides take turns on the same questions, a fresh one in every repetition. What isn't installed is skipped with its
    reason. FlashRank takes every processor that it sees: limit that from outside (taskset) together with --threads.
    Writes figures, tables and a chart, and says how many candidates fit into usual deadlines.
    """
    with one_line_errors():
        counts = list(_QUICK) if quick else _numbers(candidates)
        wanted = ["passages"] if quick else [kind.strip() for kind in kinds.split(",")]
        memory = memory and not quick
        if unknown := sorted(set(wanted) - set(KINDS)):
            raise ConfigurationError(f"--kinds must be among {', '.join(KINDS)}; got {', '.join(unknown)}")
        rounds = {count: repetitions or (_QUICK if quick else _REPETITIONS).get(count, 5) for count in counts}
        clock = time.process_time if cpu_time else time.perf_counter
        threads = 1 if cpu_time else cpu_threads(threads)
        assets = os.environ.get("SECONDPASS_ASSETS")
        source, topics = topics_of(texts, Path(assets) if assets else None)
        sides = all_sides([m.strip() for m in models.split(",")], str(checkpoint) if checkpoint else None, threads)
        opened, skipped = open_sides(sides)
        counter = partial(count_tokens, load_scorer("nano", device="cpu"))
        works = [Workload(topics, kind, count, rounds[count], counter, clock) for kind in wanted for count in counts]
        result: dict[str, Any] = {
            "processor": processor(),
            "threads": threads,
            "clock": "processor" if cpu_time else "wall",
            "source": source,
            "peaks": peaks(threads, clock),
            "skipped": skipped,
            "advised_on": 100 if 100 in counts else max(counts),
        }
        with bars(plain=True) as progress:
            result["workloads"] = [_measured(opened, work, result["peaks"], progress) for work in works]
            task = next(tasks(topics, wanted[0], 100))
            result["memory_mb"] = {side.name: peak_memory(side, task) for side in opened if memory}
        _write(out, result)


def _measured(
    opened: Mapping[Side, Rerank], work: Workload, peak: Mapping[str, float], progress: Callable[..., None]
) -> dict[str, Any]:
    """Run one workload, and return its figures; float32 is left out where it would take too long."""
    timed = {side: opened[side] for side in opened if work.count < _SLOW or side.dtype == "int8"}
    if not timed:
        raise ConfigurationError("there is nothing to measure: give a model, or fewer candidates for float32")
    reference = next((side for side in timed if side.maker == "sentence_transformers"), next(iter(timed)))
    progress(f"{work.count} {work.kind}", 0, None)
    cells, grades = run(timed, work)
    progress(f"{work.count} {work.kind}", 1, 1)
    return {
        "kind": work.kind,
        "count": work.count,
        "repetitions": work.repetitions,
        "reference": reference.name,
        "tokens": sum(cells[reference].tokens) / work.repetitions,
        "sides": {
            side.name: cell.figures(cells[reference], grades, peak.get(side.dtype)) for side, cell in cells.items()
        },
    }


def _write(out: Path, result: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    page = as_markdown(result)
    (out / "bench.md").write_text(page, "utf-8")
    if reason := draw(result, out / "bench.png"):
        console(stderr=True).print(reason)
    say(page)


def _numbers(given: str) -> list[int]:
    try:
        numbers = [int(number) for number in given.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"--candidates must be whole numbers with commas between, got {given!r}") from error
    if min(numbers) < 2:
        raise ConfigurationError(f"--candidates must be 2 or more, got {given!r}")
    return numbers

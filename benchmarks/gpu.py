"""Reranking on a GPU: secondpass against ``CrossEncoder.predict``, from strings to the ordered result.

usage: python -m benchmarks.gpu [--out FOLDER] [--minutes 9] [--dry]

Needs torch, transformers, sentence-transformers and this repository; nothing is downloaded. Weights are random: speed
doesn't depend on them. Texts are random words of a BERT vocabulary, new ones in each repetition, so that no cache
knows them. Both sides get the same strings and give raw logits. ``--dry`` runs everything on the CPU with tiny models.
"""

import argparse
import gc
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import transformers
from sentence_transformers import CrossEncoder

from benchmarks.gpu_page import write_page
from benchmarks.gpu_work import LONGEST, flops, make_model, matrix_peak, tokens_of, vocabulary, workloads
from secondpass import load_scorer
from secondpass.records import Pair, Score

DTYPES = ("bfloat16", "float32")
SIDES = ("secondpass", "predict")


@dataclass(frozen=True)
class Plan:
    """What is measured: models by (layers, width, heads), numbers of candidates, seconds for a cell."""

    models: dict[str, tuple[int, int, int]]
    counts: tuple[int, ...]
    seconds: float
    repetitions: int
    matrix: int  # rows of the square matrices whose product is the peak


FULL = Plan(
    {"MiniLM-L6": (6, 384, 12), "MiniLM-L12": (12, 384, 12), "bge-reranker-base size": (12, 768, 12)},
    (100, 10_000, 1000, 10),  # the most important first: time may end before the last
    seconds=2.5,
    repetitions=40,
    matrix=8192,
)
DRY = Plan({"tiny": (2, 32, 4)}, (10, 20), seconds=0.2, repetitions=2, matrix=512)


@dataclass(frozen=True)
class Cell:
    """One measurement: seconds are of calls, from strings to the ordered result."""

    model: str
    lengths: str
    candidates: int
    dtype: str
    side: str
    p50_ms: float
    p95_ms: float
    repetitions: int
    pairs_per_second: float
    peak_share: float  # useful floating-point operations over those of the measured matrix product
    memory_mb: float  # weights and the call's peak
    difference: float = 0.0  # the largest, of the scores, to the other side's in the same dtype


@dataclass
class Run:
    """A benchmark run.

    :param device: ``"cuda"`` or ``"cpu"``.
    :param plan: What is measured.
    :param ends: When the last cell may start, by ``time.perf_counter``.
    """

    device: str
    plan: Plan
    ends: float
    peaks: dict[str, float] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    left_out: int = 0
    loaded: dict[str, float] = field(default_factory=dict)  # MB that each side keeps
    placement: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, and write ``gpu.json`` and ``gpu.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args(arguments)
    if not asked.dry and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device; --dry runs on the CPU, with tiny models")
    device, plan = ("cpu", DRY) if asked.dry else ("cuda", FULL)
    run = Run(device, plan, time.perf_counter() + 60 * asked.minutes)
    run.peaks = {dtype: matrix_peak(plan.matrix, device, dtype) for dtype in DTYPES}
    with tempfile.TemporaryDirectory() as folder:
        for name in plan.models:
            measure_model(run, name, make_model(Path(folder) / name, *plan.models[name]))
    asked.out.mkdir(parents=True, exist_ok=True)
    result = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "dry": asked.dry,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "placement": run.placement,
        "peak_tflops": {dtype: round(peak / 1e12, 3) for dtype, peak in run.peaks.items()},
        "left_out": run.left_out,
        "cells": [asdict(cell) for cell in run.cells],
    }
    (asked.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (asked.out / "gpu.md").write_text(write_page(result), encoding="utf-8")
    print(f"{len(run.cells)} cells, {run.left_out} left out: {asked.out / 'gpu.md'}")


def measure_model(run: Run, name: str, folder: Path) -> None:
    """Measure both sides in both dtypes with one model, alternating between the sides."""
    words = vocabulary(folder)
    for dtype in DTYPES:
        sides = {}
        for side, load in zip(SIDES, (ours, theirs), strict=True):
            before = reserved(run)
            sides[side] = load(run, folder, dtype)
            run.loaded[side] = reserved(run) - before
        for candidates in run.plan.counts:
            for lengths in ("90 tokens", "mixed"):
                measure_cells(run, (name, lengths, candidates, dtype), sides, words)


def ours(run: Run, folder: Path, dtype: str) -> Callable[[list[Pair]], list[float]]:
    """Return a function of pairs that gives the scores by secondpass."""
    scorer = load_scorer(folder, engine="torch", device=run.device, dtype=dtype)
    scorer.warmup()
    run.placement = str(scorer.score_pairs([]).stages[0].facts["placement"])
    return lambda pairs: [o.value for o in scorer.score_pairs(pairs).outcomes if isinstance(o, Score)]


def theirs(run: Run, folder: Path, dtype: str) -> Callable[[list[Pair]], list[float]]:
    """Return a function of pairs that gives the scores by sentence-transformers, with its own batch size."""
    model = CrossEncoder(
        str(folder), device=run.device, max_length=LONGEST, model_kwargs={"dtype": getattr(torch, dtype)}
    )
    raw = torch.nn.Identity()
    return lambda pairs: (
        model.predict([tuple(pair) for pair in pairs], activation_fn=raw, show_progress_bar=False)
        .astype(float)
        .tolist()
    )


def measure_cells(
    run: Run, what: tuple[str, str, int, str], sides: dict[str, Callable[[list[Pair]], list[float]]], words: list[str]
) -> None:
    """Measure both sides with the same pairs, the side that begins alternating."""
    name, lengths, candidates, dtype = what
    if time.perf_counter() > run.ends:
        run.left_out += len(sides)
        return
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    memory = dict.fromkeys(sides, 0.0)
    operations, difference = [], 0.0
    ends = time.perf_counter() + run.plan.seconds * len(sides)
    for number, pairs in enumerate(workloads(words, lengths, candidates)):
        scores = {}
        for side in SIDES if number % 2 else SIDES[::-1]:
            took, memory[side], scores[side] = timed(run, sides[side], pairs)
            seconds[side].append(took)
        operations.append(sum(flops(run.plan.models[name], tokens_of(pair)) for pair in pairs))
        difference = max(difference, *(abs(a - b) for a, b in zip(*scores.values(), strict=True)))
        if number >= run.plan.repetitions or (number >= 2 and time.perf_counter() > ends):
            break
    for side, all_times in seconds.items():
        times = all_times[1:]  # the first call is the warm-up
        median = statistics.median(times)
        used = memory[side] + run.loaded[side]
        share = statistics.mean(operations[1:]) / median / run.peaks[dtype]
        p95 = sorted(times)[math.ceil(0.95 * len(times)) - 1]
        run.cells.append(
            Cell(
                *what,
                side,
                1e3 * median,
                1e3 * p95,
                len(times),
                candidates / median,
                share,
                used,
                difference,
            )
        )
        print(f"{name}, {lengths}, {candidates}, {dtype}, {side}: {1e3 * median:.2f} ms", flush=True)


def timed(run: Run, side: Callable[[list[Pair]], list[float]], pairs: list[Pair]) -> tuple[float, float, list[float]]:
    """Return the seconds to the ordered result, the MB that the call took at its peak, and the scores."""
    before = 0
    if run.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    started = time.perf_counter()
    scores = side(pairs)
    sorted(range(len(pairs)), key=scores.__getitem__, reverse=True)
    took = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() - before if run.device == "cuda" else 0
    return took, peak / 2**20, scores


def reserved(run: Run) -> float:
    """Return the MB that torch keeps, without what is free."""
    if run.device != "cuda":
        return 0.0
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved() / 2**20


if __name__ == "__main__":
    main()

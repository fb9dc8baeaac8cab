"""Throughput and latency against the number of concurrent callers: one shared scorer beside sentence-transformers.

usage: python -m benchmarks.load [--callers 1 2 4 8 16] [--candidates 5 20] [--seconds 4] [--rounds 3] [--out FILE]

The same random weights of MiniLM-L6's shape for both: secondpass with its torch engine, one scorer for all callers,
and `CrossEncoder.predict` behind a lock, which is how it is made safe. The systems take turns in each round.
"""

import argparse
import json
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from secondpass import load_scorer
from secondpass.models import bundled_models

Score = Callable[[str, list[str]], object]
TEXT = "the adult flea lives for two or three months if it finds a host and starves within weeks without one"
WORDS = TEXT.split()
QUERY = "how long does a flea live"


def make_model(folder: Path) -> None:
    """Save a model of MiniLM-L6's shape with random weights, and the bundled models' tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(bundled_models()["nano"] / "tokenizer.json"),
        model_max_length=512,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")},
    )
    tokenizer.save_pretrained(folder)


def passages(source: random.Random, candidates: int) -> list[str]:
    """Return passages of 20 to 100 words."""
    return [" ".join(source.choices(WORDS, k=source.randrange(20, 100))) for _ in range(candidates)]


def measure(score: Score, callers: int, candidates: int, seconds: float) -> tuple[float, list[float]]:
    """Return calls a second, and the latency of each call in milliseconds."""
    latencies: list[float] = []
    stop = time.perf_counter() + seconds

    def caller(seed: int) -> None:
        source = random.Random(seed)
        while time.perf_counter() < stop:
            texts = passages(source, candidates)
            started = time.perf_counter()
            score(QUERY, texts)
            latencies.append(1000 * (time.perf_counter() - started))

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / (time.perf_counter() - started), latencies


def systems(folder: Path) -> dict[str, Score]:
    """Return what is measured, by name."""
    ours, lock = load_scorer(folder, engine="torch", device="cpu"), threading.Lock()
    theirs = CrossEncoder(str(folder), device="cpu")

    def behind_a_lock(query: str, texts: Sequence[str]) -> object:
        with lock:
            return theirs.predict([(query, text) for text in texts], show_progress_bar=False)

    return {"secondpass, torch": ours.score, "CrossEncoder.predict behind a lock": behind_a_lock}


def main() -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--candidates", type=int, nargs="*", default=[5, 20])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = Table("candidates", "callers", "system", "calls/s", "p50 ms", "p95 ms", "p99 ms")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        measured = systems(Path(folder))
        for candidates in options.candidates:
            for callers in options.callers:
                rates: dict[str, list[float]] = {name: [] for name in measured}
                latencies: dict[str, list[float]] = {name: [] for name in measured}
                for turn in range(options.rounds):
                    for name in list(measured) if turn % 2 else list(measured)[::-1]:
                        rate, times = measure(measured[name], callers, candidates, options.seconds)
                        rates[name].append(rate)
                        latencies[name] += times
                for name in measured:
                    p50, p95, p99 = (statistics.quantiles(latencies[name], n=100)[at] for at in (49, 94, 98))
                    figures = [round(figure, 1) for figure in (statistics.median(rates[name]), p50, p95, p99)]
                    table.add_row(str(candidates), str(callers), name, *map(str, figures))
                    keys = ("calls_a_second", "p50_ms", "p95_ms", "p99_ms")
                    rows.append(
                        {"candidates": candidates, "callers": callers, "system": name}
                        | dict(zip(keys, figures, strict=True))
                    )
    Console().print(table)
    if options.out:
        record = {"processor": platform.processor() or platform.machine(), "rows": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

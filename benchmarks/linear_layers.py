"""A float32 linear layer on this machine's CPU: torch's own against oneDNN over packed weights, in GFLOP/s.

usage: python -m benchmarks.linear_layers [ROWS]
"""

import statistics
import sys
import time

import torch
from torch import nn

from secondpass.engines.torch_linear import PackedLinear


def main(rows: str = "1024") -> None:
    """Print a line for each of a small encoder's layer shapes; the two sides take turns."""
    with torch.inference_mode():
        for inner, outer in ((384, 384), (384, 1536), (1536, 384)):
            linear = nn.Linear(inner, outer)
            sides = {"torch": linear, "packed": PackedLinear(linear)}
            given, times = torch.randn(int(rows), inner), {name: [] for name in sides}
            for _ in range(40):
                for name, layer in sides.items():
                    started = time.perf_counter()
                    layer(given)
                    times[name].append(time.perf_counter() - started)
            work = 2e-9 * int(rows) * inner * outer
            figures = ", ".join(f"{name} {work / statistics.median(taken[5:]):.0f}" for name, taken in times.items())
            print(f"{rows} rows, {inner} -> {outer}: {figures} GFLOP/s")


if __name__ == "__main__":
    main(*sys.argv[1:])

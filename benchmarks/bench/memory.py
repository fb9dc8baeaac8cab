"""The peak memory of one system, in a process of its own that imports nothing which only the others need."""

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.bench.sides import Side
from benchmarks.bench.workloads import Topic


def peak_memory(side: Side, task: Topic) -> float | None:
    """Return the most megabytes that a process of its own holds while a side does one task; None where it fails."""
    command = [sys.executable, "-m", "benchmarks.bench.memory"]
    given = json.dumps({"side": asdict(side), "query": task.query, "texts": task.texts})
    root = Path(__file__).parents[2]
    done = subprocess.run(command, input=given, cwd=root, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - no user input
    return None if done.returncode else float(done.stdout.splitlines()[-1])


def most_memory() -> float:
    """Return the most megabytes that this process has held."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    status = Path("/proc/self/status").read_text("utf-8")  # Linux's ru_maxrss begins with that of the parent process
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


if __name__ == "__main__":
    work = json.load(sys.stdin)
    Side(**work["side"]).open()(work["query"], work["texts"])
    print(most_memory())

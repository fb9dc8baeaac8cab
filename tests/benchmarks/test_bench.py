"""``benchmarks.bench``: turns, figures by hand, memory, and the whole program on a few candidates."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the extra optimize isn't installed")
pytest.importorskip("sklearn", reason="the extra eval isn't installed")

from benchmarks.bench.measure import Cell, Workload, ndcg, run
from benchmarks.bench.memory import peak_memory
from benchmarks.bench.sides import Side
from benchmarks.bench.workloads import Topic, tasks

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]
TOPICS = [Topic("one", ("a b c", "d e"), {0: 2, 1: 1}), Topic("two", ("f", "g h"), {0: 0, 1: 1})]


def test_sides_take_turns_on_fresh_questions() -> None:
    """Every side gets the same tasks, each repetition another one, and the order rotates; the first is a warm-up."""
    log: list[tuple[str, str]] = []

    def side(name: str) -> Callable[[str, Sequence[str]], list[int]]:
        def rerank(query: str, texts: Sequence[str]) -> list[int]:
            log.append((name, query))
            return [0, 1]

        return rerank

    sides = {Side(name, name, "", "int8", 1): side(name) for name in ("a", "b")}
    clock = iter(range(100))
    work = Workload(TOPICS, "passages", 2, 2, lambda texts: [1] * len(texts), lambda: float(next(clock)))
    cells, grades = run(sides, work)
    assert log == [("a", "one"), ("b", "one"), ("b", "two"), ("a", "two"), ("a", "one"), ("b", "one")]
    assert [cell.seconds for cell in cells.values()] == [[1.0, 1.0]] * 2
    assert grades == [{0: 0, 1: 1}, {0: 2, 1: 1}]


def test_figures_by_hand() -> None:
    """Percentiles, ratio to the reference, rates, share of the peak, and agreement of two repetitions."""
    reference = Cell([2.0, 4.0], [10, 20], [100.0, 200.0], [[0, 1], [0, 1]])
    cell = Cell([1.0, 1.0], [10, 20], [100.0, 200.0], [[0, 1], [1, 0]])
    assert cell.figures(reference, [{0: 1, 1: 0}, {0: 0, 1: 0}], peak=1000.0) == pytest.approx(
        {
            "repetitions": 2,
            "p50_ms": 1000.0,
            "p95_ms": 1000.0,
            "ratio": 3.0,
            "tokens_a_second": 15.0,
            "share_of_peak": 0.15,
            "top_10_agreement": 1.0,
            "kendall_tau": 0.0,
            "ndcg_10": 1.0,
        }
    )
    assert ndcg([1, 0], {0: 2, 1: 0}) == pytest.approx((2 / 1.5849625) / 2)


def test_chunks_have_the_stated_lengths() -> None:
    """Chunks have 150 to 512 tokens, as words by the usual ratio."""
    topics = [Topic("q", (" ".join(["word"] * 2000),))]
    lengths = [len(text.split()) for text in next(tasks(topics, "chunks", 50)).texts]
    assert 150 / 1.35 - 1 <= min(lengths) < max(lengths) <= 512 / 1.35


def test_peak_memory_is_that_of_the_side_alone() -> None:
    """What the benchmark's own process held before doesn't count: each side runs in a process of its own."""
    held = bytearray(800 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    megabytes = peak_memory(Side("nano", "secondpass", "nano", "int8", 1), Topic("a question", ("a text",)))
    assert megabytes is not None
    assert megabytes < 600
    del held


def test_the_program_writes_figures_and_a_page(tmp_path: Path) -> None:
    """On a few candidates it writes JSON, and a page with tables and what was skipped."""
    command = [sys.executable, "-m", "benchmarks.bench", "--models", "nano", "--candidates", "3", "--kinds", "passages"]
    command += ["--repetitions", "2", "--no-memory", "--out", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "SECONDPASS_ASSETS"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    figures = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert "secondpass nano" in figures["workloads"][0]["sides"]
    assert "needs --checkpoint" in figures["skipped"]["sentence-transformers predict"]
    page = (tmp_path / "bench.md").read_text("utf-8")
    assert all(part in page for part in ("## 3 passages", "| secondpass nano |", "## Skipped"))

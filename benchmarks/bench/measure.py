"""Measuring: one run, sides in rotated order, a fresh question in every repetition; arithmetic peaks."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score

from benchmarks.bench.sides import Rerank, Side
from benchmarks.bench.workloads import Topic, tasks
from secondpass.errors import SecondpassError
from secondpass.models import CASCADES, bundled_models

Counter = Callable[[Sequence[str]], list[int]]
_TOP = 10


@dataclass(slots=True)
class Cell:
    """One side on one workload.

    :param seconds: Of each repetition.
    :param tokens: Tokens of each repetition's pairs, queries included.
    :param flops: Floating-point operations of each repetition for one full pass of the side's model; NaN if unknown.
    :param orders: The order of each repetition's texts, best first.
    """

    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    orders: list[list[int]] = field(default_factory=list)

    def figures(self, reference: "Cell", grades: Sequence[Mapping[int, int]], peak: float) -> dict[str, Any]:
        """Return the side's figures as plain data; quality is the agreement with a reference and nDCG@10."""
        milliseconds = np.array(self.seconds) * 1000
        gains = [ndcg(order, own) for order, own in zip(self.orders, grades, strict=True) if any(own.values())]
        pairs = list(zip(self.orders, reference.orders, strict=True))
        rate = statistics.median(f / s for f, s in zip(self.flops, self.seconds, strict=True))
        return {
            "repetitions": len(self.seconds),
            "p50_ms": float(np.percentile(milliseconds, 50)),
            "p95_ms": float(np.percentile(milliseconds, 95)),
            "ratio": statistics.median(r / s for r, s in zip(reference.seconds, self.seconds, strict=True)),
            "tokens_a_second": statistics.median(t / s for t, s in zip(self.tokens, self.seconds, strict=True)),
            "share_of_peak": None if math.isnan(rate) else rate / peak,
            "top_10_agreement": statistics.fmean(len({*a[:_TOP]} & {*b[:_TOP]}) / min(_TOP, len(a)) for a, b in pairs),
            "kendall_tau": statistics.fmean(kendall(a, b) for a, b in pairs),
            "ndcg_10": statistics.fmean(gains) if gains else None,
        }


def open_sides(sides: Sequence[Side]) -> tuple[dict[Side, Rerank], dict[str, str]]:
    """Return the sides that can be opened, and why others can't."""
    opened: dict[Side, Rerank] = {}
    skipped: dict[str, str] = {}
    for side in sides:
        try:
            opened[side] = side.open()
        except (ImportError, SecondpassError) as reason:
            skipped[side.name] = str(reason)
    return opened, skipped


@dataclass(frozen=True, slots=True)
class Workload:
    """What is timed.

    :param topics: The questions and their texts.
    :param kind: ``"passages"`` or ``"chunks"``.
    :param count: Candidates of a question.
    :param repetitions: Timed repetitions, each with another question.
    :param counter: Counts a text's tokens.
    :param clock: Returns seconds.
    """

    topics: Sequence[Topic]
    kind: str
    count: int
    repetitions: int
    counter: Counter
    clock: Callable[[], float]


def run(opened: Mapping[Side, Rerank], work: Workload) -> tuple[dict[Side, Cell], list[dict[int, int]]]:
    """Time every side on the same tasks; the first task is a warm-up.

    :returns: The cells, and each repetition's grades by position.
    """
    drawn: list[Topic] = list(islice(tasks(work.topics, work.kind, work.count), work.repetitions + 1))
    cells = {side: Cell() for side in opened}
    for turn, task in enumerate(drawn):
        lengths = [3 + sum(work.counter([task.query])) + own for own in work.counter(task.texts)]
        lengths = [min(512, length) for length in lengths]
        sides = list(opened)
        first = turn % len(sides)
        for side in sides[first:] + sides[:first]:
            started = work.clock()
            order = opened[side](task.query, task.texts)
            seconds = work.clock() - started
            if turn:
                cell = cells[side]
                cell.seconds.append(seconds)
                cell.tokens.append(sum(lengths))
                cell.flops.append(model_flops(side.model, lengths))
                cell.orders.append(order)
    return cells, [dict(task.grades) for task in drawn[1:]]


def ndcg(order: Sequence[int], grades: Mapping[int, int]) -> float:
    """Return nDCG@10 with linear gains, as trec_eval computes it, of positions and their grades."""
    gains = [grades.get(position, 0) for position in order]
    return float(ndcg_score([gains], [range(len(order), 0, -1)], k=_TOP))


def kendall(order: Sequence[int], wanted: Sequence[int]) -> float:
    """Return Kendall's tau of two orders of the same positions."""
    return float(kendalltau(np.argsort(order), np.argsort(wanted)).statistic)


def model_flops(model: str, lengths: Sequence[int]) -> float:
    """Return the operations of a full pass of a BERT-like encoder: 2 for each weight and token, and its attention.

    What a model leaves out (the last layer but for its first token, what a cascade prunes) counts as done, so that a
    share of the peak says how much work was covered in the time. NaN where the configuration doesn't say.
    """
    folder = bundled_models().get(CASCADES[model][1] if model in CASCADES else model) or Path(model)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    except (OSError, ValueError, KeyError):
        return math.nan
    return float(sum(layers * (n * (8 * width**2 + 4 * width * inner) + 4 * n**2 * width) for n in lengths))


_ROWS, _INNER, _OUTER = 768, 768, 3072  # rows: a batch's tokens


def peaks(threads: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the measured peak of ONNX Runtime's matrix products, in operations a second, by data type."""
    return {dtype: _peak(_product(dtype, threads), clock) for dtype in ("float32", "int8")}


def _peak(product: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the operations a second of the fastest of some runs."""
    seconds = []
    for _ in range(20):
        started = clock()
        product()
        seconds.append(clock() - started)
    return 2 * _ROWS * _INNER * _OUTER / min(seconds)


def _product(dtype: str, threads: int) -> Callable[[], object]:
    """Return a function that multiplies two matrices once."""
    left, right, given, result, operator = {
        "float32": (np.float32, np.float32, TensorProto.FLOAT, TensorProto.FLOAT, "MatMul"),
        "int8": (np.uint8, np.int8, TensorProto.UINT8, TensorProto.INT32, "MatMulInteger"),
    }[dtype]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", given, [_ROWS, _INNER])],
        [helper.make_tensor_value_info("y", result, [_ROWS, _OUTER])],
        [numpy_helper.from_array(np.ones((_INNER, _OUTER), right), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feeds = {"x": np.ones((_ROWS, _INNER), left)}
    return lambda: session.run(None, feeds)

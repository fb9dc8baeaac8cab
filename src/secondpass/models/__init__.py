"""Bundled models, a folder each with ONNX weights, tokenizer, card and manifest; their cascade; model families."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from secondpass.models.families import ModelFamily, Status, family_of, supported, unsupported

__all__ = [
    "CASCADES",
    "ModelFamily",
    "Status",
    "bundled_models",
    "bundled_names",
    "family_of",
    "supported",
    "unsupported",
]

CASCADES: Mapping[str, tuple[str, str, int, float]] = MappingProxyType({"fast": ("nano", "small", 30, 0.25)})
"""The cascades of bundled models by name: the scorer that prunes, the one that decides, how many candidates go on, and
the first stage's vote in that."""

_FOLDER = Path(__file__).parent


def bundled_models() -> dict[str, Path]:
    """Return the folder of each bundled model by its name; cascades have none."""
    return {graph.parent.name: graph.parent for graph in sorted(_FOLDER.glob("*/model.onnx"))}


def bundled_names() -> list[str]:
    """Return the names that ``load_scorer`` knows without a folder or a hub: models and cascades."""
    return sorted((*CASCADES, *bundled_models()))

"""What training needs beyond the base install."""

from importlib.util import find_spec

from secondpass.errors import MissingExtra

_PACKAGES = {
    "sentence_transformers": "sentence-transformers",
    "accelerate": "accelerate",
    "datasets": "datasets",
    "ir_measures": "ir-measures",
    "onnx": "onnx",
    "scipy": "scipy",
}


def require_train() -> None:
    """Check that the extra ``train`` is installed, before anything of it is imported.

    :raises MissingExtra: If a package of it is missing.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise MissingExtra("secondpass.training", package, "train")

"""The optimiser: a torch cross-encoder becomes an ONNX file, float32 or int8, whose scores are free of the batch."""

from importlib.util import find_spec

from secondpass.errors import MissingExtra

for _package in ("torch", "transformers", "onnx", "onnxscript"):
    if find_spec(_package) is None:
        raise MissingExtra("secondpass.optimize", _package, "optimize")

from secondpass.optimize.pipeline import optimize
from secondpass.optimize.records import DEFAULT_SETTINGS, Bounds, FormReport, OptimizeReport, OptimizeSettings

__all__ = ["DEFAULT_SETTINGS", "Bounds", "FormReport", "OptimizeReport", "OptimizeSettings", "optimize"]

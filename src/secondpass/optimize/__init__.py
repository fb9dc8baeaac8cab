"""Export and quantisation: a torch cross-encoder as ONNX, float32 or int8, with scores independent of the batch."""

from secondpass.errors import require

require("secondpass.optimize", "train", "torch", "sentence-transformers", "onnx", "onnxscript")

from secondpass.optimize.pipeline import DEFAULT_SETTINGS, OptimizeReport, OptimizeSettings, optimize
from secondpass.optimize.verification import Bounds, Form, FormReport

__all__ = ["DEFAULT_SETTINGS", "Bounds", "Form", "FormReport", "OptimizeReport", "OptimizeSettings", "optimize"]

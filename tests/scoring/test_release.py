"""Release of a model's memory."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secondpass import load_scorer

Tiny = Callable[..., Path]


def alive(kind: type) -> list[Any]:
    """Return the objects of a class that are still referenced."""
    gc.collect()
    return [item for item in gc.get_objects() if type(item) is kind]


def test_a_released_torch_model_is_freed(tiny: Tiny) -> None:
    """After ``release`` nothing references the weights, and the scorer can still be used."""
    from transformers import BertForSequenceClassification

    before = len(alive(BertForSequenceClassification))
    scorer = load_scorer(str(tiny("torch")))
    loaded = len(alive(BertForSequenceClassification))
    scorer.release()
    assert (loaded, len(alive(BertForSequenceClassification))) == (before + 1, before)
    assert scorer.count_tokens(["the fox"]) == [2]


def test_a_released_onnx_session_is_freed(tiny: Tiny) -> None:
    """After ``release`` nothing references the session, and the scorer can still be used."""
    from onnxruntime import InferenceSession

    before = len(alive(InferenceSession))
    scorer = load_scorer(str(tiny("onnx")))
    loaded = len(alive(InferenceSession))
    scorer.release()
    assert (loaded, len(alive(InferenceSession))) == (before + 1, before)
    assert scorer.count_tokens(["the fox"]) == [2]

"""Giving a model's memory back."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secondpass import load_scorer

Tiny = Callable[..., Path]


def alive(kind: type) -> list[Any]:
    """Return the objects of a class that something still holds."""
    gc.collect()
    return [item for item in gc.get_objects() if type(item) is kind]


def test_a_released_torch_model_is_gone(tiny: Tiny) -> None:
    """After ``release`` nothing holds the weights any more, though the scorer itself is still in use."""
    from transformers import BertForSequenceClassification

    before = len(alive(BertForSequenceClassification))
    scorer = load_scorer(str(tiny("torch")))
    loaded = len(alive(BertForSequenceClassification))
    scorer.release()
    assert (loaded, len(alive(BertForSequenceClassification))) == (before + 1, before)
    assert scorer.count_tokens(["the fox"]) == [2]


def test_a_released_onnx_session_is_gone(tiny: Tiny) -> None:
    """After ``release`` nothing holds the session any more, though the scorer itself is still in use."""
    from onnxruntime import InferenceSession

    before = len(alive(InferenceSession))
    scorer = load_scorer(str(tiny("onnx")))
    loaded = len(alive(InferenceSession))
    scorer.release()
    assert (loaded, len(alive(InferenceSession))) == (before + 1, before)
    assert scorer.count_tokens(["the fox"]) == [2]

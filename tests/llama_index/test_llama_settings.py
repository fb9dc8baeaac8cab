"""The postprocessor's settings: validation, serialisation, copies, and when the model is loaded."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

from llama_index.core.schema import MetadataMode

from secondpass import ContextBudget, OverlapScorer, Reranker, Selection
from secondpass.llama_index import SecondPassRerank

SETTINGS: dict[str, Any] = {
    "model": "some/model",
    "top_n": 2,
    "budget": 200,
    "selection": Selection(order="ends"),
    "device": "cpu",
    "metadata_mode": MetadataMode.LLM,
}
LIVE: dict[str, tuple[dict[str, Any], str]] = {
    "reranker": ({"reranker": Reranker(OverlapScorer())}, "reranker"),
    "callable": ({"model": "some/model", "budget": lambda query: 5}, "budget, a callable"),
    "counter": ({"model": "some/model", "budget": ContextBudget(5, counter=str.split)}, "token counter 'split'"),
}
COPIES: dict[str, Callable[[SecondPassRerank], SecondPassRerank]] = {
    "to_dict": lambda it: SecondPassRerank.from_dict(it.to_dict()),
    "to_json": lambda it: SecondPassRerank.from_json(it.to_json()),
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "deepcopy": copy.deepcopy,
}


def test_json_has_the_given_settings_and_the_class_name() -> None:
    """LlamaIndex's key ``class_name`` names the class."""
    written = json.loads(SecondPassRerank(model="some/model", top_n=2).to_json())
    assert written == {"class_name": "SecondPassRerank", "model": "some/model", "top_n": 2}


def test_settings_are_plain_data() -> None:
    """``settings`` returns plain strings and numbers, no members of LlamaIndex's enumerations."""
    mode = SecondPassRerank(model="some/model", metadata_mode=MetadataMode.LLM).settings()["metadata_mode"]
    assert (type(mode), mode) == (str, "llm")

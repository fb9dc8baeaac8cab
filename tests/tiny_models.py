"""Cross-encoders small enough to be created in each run: random weights, a vocabulary of some 60 words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    "a",
    "an",
    "and",
    "are",
    "at",
    "bee",
    "bird",
    "blue",
    "brown",
    "can",
    "cat",
    "cold",
    "day",
    "do",
    "dog",
    "dry",
    "eat",
    "egg",
    "fish",
    "fly",
    "fox",
    "grass",
    "green",
    "grow",
    "has",
    "high",
    "hot",
    "how",
    "in",
    "is",
    "it",
    "jump",
    "lake",
    "lazy",
    "leaf",
    "live",
    "long",
    "many",
    "moon",
    "of",
    "old",
    "on",
    "over",
    "quick",
    "rain",
    "red",
    "river",
    "run",
    "sea",
    "sky",
    "snow",
    "sun",
    "swim",
    "the",
    "they",
    "to",
    "tree",
    "void",
    "warm",
    "water",
    "what",
    "when",
    "where",
    "wind",
    "young",
    ".",
    "?",
)
VOCABULARY = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
NAN_WORD = "void"  # a model created with nan=True gives NaN for every pair that contains it
POSITIONS = 64
HIDDEN = 32

Variant = Literal["plain", "sigmoid", "embedding", "dynamic"]


def tiny_tokenizer() -> Tokenizer:
    """Return a BERT-like tokenizer over whole words."""
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", VOCABULARY["[CLS]"]), ("[SEP]", VOCABULARY["[SEP]"])],
    )
    return tokenizer


def tiny_torch(
    folder: Path,
    num_labels: int = 1,
    *,
    id2label: Mapping[int, str] | None = None,
    seed: int = 7,
    nan: bool = False,
    layers: int = 2,
) -> Path:
    """Save a random BERT as safetensors with its tokenizer, and return its folder."""
    pytest.importorskip("sentence_transformers", reason="the extra torch isn't installed")
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    names = {"id2label": dict(id2label), "label2id": {v: k for k, v in id2label.items()}} if id2label else {}
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        num_labels=num_labels,
        initializer_range=0.5,  # large, so that the scores differ clearly
        pad_token_id=VOCABULARY["[PAD]"],
        **names,
    )
    model = BertForSequenceClassification(config)
    if nan:
        with torch.no_grad():
            model.bert.embeddings.word_embeddings.weight[VOCABULARY[NAN_WORD]] = float("nan")
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(),
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder


def tiny_onnx(
    folder: Path,
    num_labels: int = 1,
    *,
    variant: Variant = "plain",
    id2label: Mapping[int, str] | None = None,
    nan: bool = False,
) -> Path:
    """Write a small graph (embeddings, mean over the tokens, one linear layer) with its tokenizer; return its folder.

    :param variant: ``"sigmoid"`` ends in one, ``"embedding"`` gives a vector for each token instead of a row for each
        pair, ``"dynamic"`` quantises its activations from each batch.
    """
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    folder.mkdir(parents=True, exist_ok=True)
    nodes, weights = _graph(num_labels, variant, nan=nan)
    integer, real = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    inputs = [
        onnx.helper.make_tensor_value_info(name, integer, ["pairs", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    shape = ["pairs", "tokens", HIDDEN] if variant == "embedding" else ["pairs", num_labels]
    outputs = [onnx.helper.make_tensor_value_info("logits", real, shape)]
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    made = [onnx.helper.make_node(kind, takes, gives, **attributes) for kind, takes, gives, attributes in nodes]
    graph = onnx.helper.make_graph(made, "tiny", inputs, outputs, initializers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {"model_type": "bert", "max_position_embeddings": POSITIONS, "pad_token_id": 0}
    if id2label:
        config["id2label"] = {str(column): name for column, name in id2label.items()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "model_max_length": POSITIONS}))
    return folder


_Nodes = list[tuple[str, list[str], list[str], dict[str, Any]]]


def _graph(num_labels: int, variant: Variant, *, nan: bool) -> tuple[_Nodes, dict[str, Any]]:
    random = np.random.default_rng(7)
    words = random.normal(size=(len(VOCABULARY), HIDDEN)).astype(np.float32)
    if nan:
        words[VOCABULARY[NAN_WORD]] = np.nan
    linear = random.normal(size=(HIDDEN, num_labels)).astype(np.float32)
    weights: dict[str, Any] = {
        "words": words,
        "types": random.normal(size=(2, HIDDEN)).astype(np.float32),
        "token_axis": np.array([1], dtype=np.int64),
        "last_axis": np.array([2], dtype=np.int64),
    }
    nodes: _Nodes = [
        ("Gather", ["words", "input_ids"], ["word_vectors"], {}),
        ("Gather", ["types", "token_type_ids"], ["type_vectors"], {}),
        ("Mul", ["word_vectors", "type_vectors"], ["vectors"], {}),
        ("Cast", ["attention_mask"], ["mask_2d"], {"to": 1}),
        ("Unsqueeze", ["mask_2d", "last_axis"], ["mask"], {}),
        ("Mul", ["vectors", "mask"], ["logits" if variant == "embedding" else "masked"], {}),
    ]
    if variant == "embedding":
        return nodes, weights
    nodes += [
        ("ReduceSum", ["masked", "token_axis"], ["summed"], {"keepdims": 0}),
        ("ReduceSum", ["mask", "token_axis"], ["counted"], {"keepdims": 0}),
        ("Div", ["summed", "counted"], ["pooled"], {}),
    ]
    if variant == "dynamic":
        weights |= {
            "linear": np.clip(np.round(linear * 30), -127, 127).astype(np.int8),
            "linear_zero": np.array(0, dtype=np.int8),
            "linear_scale": np.array(1 / 30, dtype=np.float32),
        }
        nodes += [
            ("DynamicQuantizeLinear", ["pooled"], ["whole", "scale", "zero"], {}),
            ("MatMulInteger", ["whole", "linear", "zero", "linear_zero"], ["product"], {}),
            ("Cast", ["product"], ["real_product"], {"to": 1}),
            ("Mul", ["scale", "linear_scale"], ["both_scales"], {}),
            ("Mul", ["real_product", "both_scales"], ["logits"], {}),
        ]
        return nodes, weights
    weights["linear"] = linear * 4
    if variant == "sigmoid":
        nodes += [("MatMul", ["pooled", "linear"], ["raw"], {}), ("Sigmoid", ["raw"], ["logits"], {})]
    else:
        nodes += [("MatMul", ["pooled", "linear"], ["logits"], {})]
    return nodes, weights

"""Models, texts and operations of ``benchmarks/gpu.py``."""

import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from secondpass.models import bundled_models
from secondpass.records import Pair

LONGEST = 512
QUERY_WORDS = 8
SPECIAL_TOKENS = 3


def make_model(folder: Path, layers: int, width: int, heads: int) -> Path:
    """Save a BERT classifier of a shape with random weights, and the bundled model's tokenizer."""
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_labels=1,
        initializer_range=0.05,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    names = ("unk", "sep", "pad", "cls", "mask")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(bundled_models()["nano"] / "tokenizer.json"),
        model_max_length=LONGEST,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in names},
    )
    tokenizer.save_pretrained(folder)
    return folder


def vocabulary(folder: Path) -> list[str]:
    """Return the whole words of the tokenizer: each is one token."""
    entries = PreTrainedTokenizerFast.from_pretrained(folder).get_vocab()
    return sorted(word for word in entries if word.isascii() and word.isalpha() and word.islower())


def workloads(words: list[str], lengths: str, candidates: int) -> Iterator[list[Pair]]:
    """Yield queries with new texts without end; mixed lengths are spread evenly on a logarithmic scale."""
    for seed in range(sys.maxsize):
        chance = random.Random(f"{lengths} {candidates} {seed}")
        query = " ".join(chance.choices(words, k=QUERY_WORDS))
        own = QUERY_WORDS + SPECIAL_TOKENS
        sizes = [
            90 if lengths == "90 tokens" else int(24 * (LONGEST / 24) ** chance.random()) for _ in range(candidates)
        ]
        yield [Pair(query, " ".join(chance.choices(words, k=size - own))) for size in sizes]


def tokens_of(pair: Pair) -> int:
    """Return a pair's tokens."""
    return pair.query.count(" ") + pair.text.count(" ") + 2 + SPECIAL_TOKENS


def flops(shape: tuple[int, int, int], tokens: int) -> float:
    """Return the operations that a pair needs: 24 width² a token and layer, and its attention; no padding."""
    layers, width, _ = shape
    return layers * tokens * (24 * width**2 + 4 * tokens * width)


def matrix_peak(size: int, device: str, dtype: str) -> float:
    """Return the operations a second of a product of large square matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    best = math.inf
    for _ in range(10):
        started = time.perf_counter()
        for _ in range(4):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * size**3 / best

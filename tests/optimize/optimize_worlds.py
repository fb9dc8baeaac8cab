"""Tiny checkpoints of several architectures, pairs for them, and bounds that random weights can keep."""

import random
from pathlib import Path
from typing import Any

from tiny_models import HIDDEN, POSITIONS, VOCABULARY, WORDS, tiny_tokenizer

from secondpass.optimize import Bounds, OptimizeSettings
from secondpass.records import Pair

LOOSE = OptimizeSettings(int8=Bounds(mean_difference=0.5, agreement=0.5, batch_effect=0.02))
_SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS + 2,
    "num_labels": 1,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
_OTHERS: dict[str, dict[str, Any]] = {
    "roberta": {},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
    | {"bos_token_id": 2, "eos_token_id": 3},
}


def some_pairs(count: int, seed: int = 7) -> list[Pair]:
    """Return pairs of random words, four texts of different lengths a question."""
    choose = random.Random(seed)
    pairs = []
    while len(pairs) < count:
        query = " ".join(choose.choices(WORDS, k=4))
        pairs += [Pair(query, " ".join(choose.choices(WORDS, k=choose.randint(2, 40)))) for _ in range(4)]
    return pairs[:count]


def other_checkpoint(folder: Path, architecture: str) -> Path:
    """Save a random classifier of an architecture other than BERT, and return its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(7)
    config = AutoConfig.for_model(architecture, **_SIZES | _OTHERS[architecture])
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(),
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder

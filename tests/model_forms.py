"""Tiny models of the published families: their architectures with random weights, and the form of their files."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import model_tokenizers as tokenizers
from tokenizers import Tokenizer

LENGTH = 64
"""The longest pair of an encoder; of a decoder its template alone is longer."""
DECODER_LENGTH = 320
IDENTITY = "torch.nn.modules.linear.Identity"
_NLI = {"id2label": {"0": "contradiction", "1": "entailment", "2": "neutral"}}
_NLI |= {"label2id": {name: int(column) for column, name in _NLI["id2label"].items()}}
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.3,  # large, so that scores differ clearly
}
_DECODER = _SIZES | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 4096, "use_cache": True}


@dataclass(frozen=True, slots=True)
class Form:
    """A tiny model's recipe.

    :param tokenizer: Saves its tokenizer.
    :param model_type: The architecture's name in transformers.
    :param special: The ids of special tokens in the configuration, by the names of the tokens.
    :param settings: Further values of the configuration.
    :param published: What the published ``config.json`` holds beside the architecture's values.
    :param head: The class that transformers opens it with.
    :param name: The folder's name; decoders without ``modules.json`` are recognised by it.
    :param finish: Adds further files.
    :param lengths: Values of ``tokenizer_config.json``.
    """

    tokenizer: Callable[..., Path]
    model_type: str
    special: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    head: str = "AutoModelForSequenceClassification"
    name: str = "model"
    finish: Callable[[Path], None] | None = None
    lengths: dict[str, Any] = field(default_factory=lambda: {"model_max_length": LENGTH})

    @property
    def is_encoder(self) -> bool:
        """Whether it is a sequence classifier, which both engines open."""
        return self.head == "AutoModelForSequenceClassification" and self.finish is None


def make(form: Form, folder: Path) -> Path:
    """Write a form's files, and return the folder."""
    import torch
    import transformers

    path = folder / form.name
    path.mkdir(parents=True)
    form.tokenizer(path, **form.lengths)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    special = {name: tokenizer.token_to_id(token) for name, token in form.special.items()}
    torch.manual_seed(7)
    settings = _SIZES | {"vocab_size": tokenizer.get_vocab_size(), "num_labels": 1} | special | form.settings
    config = transformers.AutoConfig.for_model(form.model_type, **settings)
    getattr(transformers, form.head).from_config(config).save_pretrained(path)
    content = json.loads((path / "config.json").read_text()) | form.published
    (path / "config.json").write_text(json.dumps(content, indent=1))
    if form.finish:
        form.finish(path)
    return path


def _ettin(path: Path) -> None:
    """Put sentence-transformers' modules behind the encoder, as Ettin's rerankers have them."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
    from torch import nn

    torch.manual_seed(8)
    width = _SIZES["hidden_size"]
    modules = [
        Transformer(str(path), processor_kwargs={"model_max_length": LENGTH}),
        Pooling(width, "cls"),
        Dense(width, width, bias=False, activation_function=nn.GELU()),
        LayerNorm(width),
        Dense(width, 1, activation_function=nn.Identity(), module_output_name="scores"),
    ]
    CrossEncoder(modules=modules, activation_fn=nn.Identity(), device="cpu").save_pretrained(str(path))


QWEN3_TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: '
    '{{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first }}\n'
    '<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}\n'
    '<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}'
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n\n"  # the last line break is dropped by jinja
)
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


def _qwen3(path: Path) -> None:
    """Write the files with which sentence-transformers reads a decoder: template, modules, the answers' tokens."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    base, score = "sentence_transformers.base.modules.transformer", "sentence_transformers.cross_encoder.modules"
    forward = {"method": "forward", "method_output_name": "logits"}
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{base}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_LogitScore", "type": f"{score}.logit_score.LogitScore"},
        ],
        "sentence_bert_config.json": {
            "transformer_task": "text-generation",
            "modality_config": {"text": forward, "message": forward | {"format": "flat"}},
            "module_output_name": "causal_logits",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
        "1_LogitScore/config.json": {
            "true_token_id": tokenizer.token_to_id("yes"),
            "false_token_id": tokenizer.token_to_id("no"),
        },
        "config_sentence_transformers.json": {
            "model_type": "CrossEncoder",
            "activation_fn": IDENTITY,
            "prompts": {"query": INSTRUCTION},
            "default_prompt_name": "query",
        },
    }
    (path / "1_LogitScore").mkdir()
    for name, content in files.items():
        (path / name).write_text(json.dumps(content, indent=1))
    (path / "chat_template.jinja").write_text(QWEN3_TEMPLATE)


_BERT = {"max_position_embeddings": LENGTH}
_BERT_IDS = {"pad_token_id": "[PAD]"}
_S_IDS = {"pad_token_id": "<pad>", "bos_token_id": "<s>", "eos_token_id": "</s>"}
_ROBERTA = {"max_position_embeddings": LENGTH + 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_DEBERTA = {
    "max_position_embeddings": LENGTH,
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "position_biased_input": False,
    "pooler_hidden_size": 32,
}
_MODERN = {"max_position_embeddings": LENGTH, "local_attention": 8, "global_attn_every_n_layers": 2}
_MODERN_IDS = {"pad_token_id": "[PAD]", "cls_token_id": "[CLS]", "sep_token_id": "[SEP]"} | {
    "bos_token_id": "[CLS]",
    "eos_token_id": "[SEP]",
}
_QWEN_IDS = {"eos_token_id": "<|im_end|>", "bos_token_id": "<|endoftext|>"}
_LONG = {"model_max_length": DECODER_LENGTH}
_MS_MARCO = {"sbert_ce_default_activation_function": IDENTITY}

FORMS = {
    "bert": Form(
        tokenizers.wordpiece,
        "bert",
        _BERT_IDS,
        _BERT,
        _MS_MARCO,
        lengths={"model_max_length": LENGTH, "tokenizer_class": "BertTokenizer"},
    ),
    "electra": Form(
        tokenizers.wordpiece,
        "electra",
        _BERT_IDS,
        _BERT | {"embedding_size": 16},
        _MS_MARCO,
        lengths={"model_max_length": LENGTH, "tokenizer_class": "ElectraTokenizer"},
    ),
    "distilbert": Form(
        tokenizers.wordpiece,
        "distilbert",
        _BERT_IDS,
        _BERT | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
        lengths={"model_max_length": LENGTH, "tokenizer_class": "DistilBertTokenizer"},
    ),
    "roberta": Form(tokenizers.roberta, "roberta", _S_IDS, _ROBERTA),
    "roberta-nli": Form(tokenizers.roberta, "roberta", _S_IDS, _ROBERTA | {"num_labels": 3}, _NLI),
    "xlm-roberta": Form(tokenizers.xlm_roberta, "xlm-roberta", _S_IDS, _ROBERTA),
    "deberta": Form(tokenizers.deberta, "deberta-v2", _BERT_IDS, _DEBERTA),
    "deberta-nli": Form(tokenizers.deberta, "deberta-v2", _BERT_IDS, _DEBERTA | {"num_labels": 3}, _NLI, lengths={}),
    "modernbert": Form(tokenizers.modernbert, "modernbert", _MODERN_IDS, _MODERN | {"classifier_pooling": "mean"}),
    "ettin": Form(tokenizers.modernbert, "modernbert", _MODERN_IDS, _MODERN, head="AutoModel", finish=_ettin),
    "qwen2": Form(
        tokenizers.qwen,
        "qwen2",
        _QWEN_IDS,
        _DECODER,
        head="AutoModelForCausalLM",
        name="mxbai-rerank-base-v2",
        lengths=_LONG,
    ),
    "qwen3-plain": Form(
        tokenizers.qwen,
        "qwen3",
        _QWEN_IDS,
        _DECODER,
        head="AutoModelForCausalLM",
        name="Qwen3-Reranker-0.6B",
        lengths=_LONG,
    ),
    "qwen3-modules": Form(
        tokenizers.qwen, "qwen3", _QWEN_IDS, _DECODER, head="AutoModelForCausalLM", finish=_qwen3, lengths=_LONG
    ),
    "gemma": Form(
        tokenizers.gemma,
        "gemma",
        {"pad_token_id": "<pad>", "bos_token_id": "<bos>", "eos_token_id": "<eos>"},
        _DECODER,
        head="AutoModelForCausalLM",
        name="bge-reranker-v2-gemma",
        lengths=_LONG,
    ),
    "t5": Form(
        tokenizers.t5,
        "t5",
        {"pad_token_id": "<pad>", "eos_token_id": "</s>", "decoder_start_token_id": "<pad>"},
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4},
        head="AutoModelForSeq2SeqLM",
        name="monot5-base-msmarco",
    ),
}

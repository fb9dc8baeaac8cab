"""A torch checkpoint, opened with sentence-transformers: its scores, its features, and a shorter last layer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from sentence_transformers import CrossEncoder as Model
from torch import nn

from secondpass.engines.heads import read_head, read_max_length
from secondpass.engines.torch import quiet
from secondpass.errors import ModelError
from secondpass.models.content import check_no_code
from secondpass.models.files import ModelFolder, describe_contents
from secondpass.models.hardware import CPU_BATCH_TOKENS
from secondpass.records import Pair
from secondpass.scoring.engine import Head

OPENING_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError, AttributeError, SafetensorError)
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_EXACT = 1e-5  # how far float32 scores differ when sums are computed in another order, as a share of the largest score


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint of a sequence classifier.

    :param folder: Its files.
    :param model: The model, float32, on the CPU.
    :param head: How a row of logits becomes one score.
    """

    folder: ModelFolder
    model: Model
    head: Head

    @property
    def architecture(self) -> str:
        """The name of the model's class in transformers."""
        return type(self.model.model).__name__

    def features(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Return the model's inputs in the order of the graph's, padded to the longest pair: (pairs, tokens) each."""
        features = self.model.preprocess([tuple(pair) for pair in pairs])
        return {name: features[name] for name in _INPUTS if name in self.model.tokenizer.model_input_names}

    def equal_length_batches(self, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
        """Yield features as arrays, batches of pairs with the same number of tokens: nothing is padded."""
        by_length: dict[int, list[Pair]] = {}
        for pair in pairs:
            by_length.setdefault(self.features([pair])["input_ids"].shape[1], []).append(pair)
        for length, equal in by_length.items():
            rows = max(1, CPU_BATCH_TOKENS // length)
            for start in range(0, len(equal), rows):
                yield {name: ids.numpy() for name, ids in self.features(equal[start : start + rows]).items()}


def logits(model: Model, pairs: Sequence[Pair], batch_size: int = 8) -> list[list[float]]:
    """Return a model's raw outputs, a row for each pair; pairs of similar length share a batch."""
    texts = [tuple(pair) for pair in pairs]
    rows = model.predict(texts, batch_size=batch_size, activation_fn=nn.Identity(), show_progress_bar=False)
    values: list[list[float]] = rows.reshape(len(pairs), -1).tolist()
    return values


def open_model(
    folder: ModelFolder,
    max_length: int | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    new_head: bool = False,
) -> Model:
    """Open a checkpoint on the CPU, in float32.

    :param folder: A folder with config.json, safetensors weights and a tokenizer.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param config: Values that replace those of the configuration.
    :param new_head: Whether a head of another shape than the stored one is created, with random weights.
    :raises ModelError: If there are no such files, or sentence-transformers can't open them.
    """
    if not folder.has_checkpoint:
        raise ModelError(
            f"a checkpoint must have config.json and safetensors weights; {folder.path} has {describe_contents(folder)}"
        )
    if not any((folder.path / name).is_file() for name in _TOKENIZERS):  # transformers would make an empty one
        raise ModelError(f"{folder.path} must have a tokenizer, and has none of {', '.join(_TOKENIZERS)}")
    check_no_code(folder.path.name, folder)
    options = {
        "model_kwargs": {"dtype": torch.float32, "use_safetensors": True, "ignore_mismatched_sizes": new_head},
        "config_kwargs": dict(config or {}),
        "local_files_only": True,
    }
    with quiet():
        try:
            return Model(str(folder.path), device="cpu", max_length=max_length, **options).eval()
        except OPENING_ERRORS as error:
            raise ModelError(f"sentence-transformers can't open {folder.path}: {error!s:.500}") from error


def open_checkpoint(folder: ModelFolder, label: int | None) -> Checkpoint:
    """Open a checkpoint for export.

    :param folder: A folder with config.json, safetensors weights and a tokenizer.
    :param label: The output column that means "relevant", where the configuration leaves it open.
    :raises ModelError: If it isn't a trained sequence classifier with a tokenizer that can be saved as tokenizer.json.
    """
    config = folder.config
    _check_architecture(folder, config)
    model = open_model(folder, read_max_length(None, config, folder.tokenizer_config))
    opened = Checkpoint(folder, model, read_head(config, model.num_labels, label=label))
    if not opened.architecture.endswith("ForSequenceClassification"):
        raise ModelError(f"{folder.path} must hold a sequence classifier, and holds a {opened.architecture}")
    stored: set[str] = set()
    for file in folder.path.rglob("*.safetensors"):
        with safe_open(file, "np") as weights:
            stored.update(weights.keys())
    head = [name for name in model.model.state_dict() if not name.startswith(f"{model.model.base_model_prefix}.")]
    missing = sorted(set(head) - stored)
    if missing:
        raise ModelError(
            f"{folder.path} must hold a trained classifier, and has no weights for {', '.join(missing[:5])}: "
            "was it trained as an embedding model?"
        )
    if not model.tokenizer.is_fast:
        raise ModelError(f"{folder.path} must have a tokenizer that can be saved as tokenizer.json, and its kind can't")
    return opened


def _check_architecture(folder: ModelFolder, config: Mapping[str, Any]) -> None:
    """Refuse architectures of which no int8 form is made, before anything is opened.

    :raises ModelError: If it is such an architecture.
    """
    architecture = ", ".join(config.get("architectures") or ())
    if architecture.startswith("Deberta"):
        raise ModelError(
            f"{folder.path} holds a {architecture}: DeBERTa's attention adds scores of relative positions, for which "
            "ONNX Runtime has no operator. Run it with the torch engine, or with an ONNX file of its repository"
        )
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        raise ModelError(
            f"{folder.path} holds a {architecture}, a decoder that answers a prompt, and only encoders with a "
            "classifier are exported. Run it with the torch engine"
        )
    if folder.has_modules and len(json.loads((folder.path / "modules.json").read_text(encoding="utf-8"))) > 1:
        raise ModelError(
            f"{folder.path} has a head made of sentence-transformers' modules, which the export doesn't read. Run it "
            "with the torch engine"
        )


class FirstTokenLayer(nn.Module):
    """A BERT-like encoder layer that reads every token and returns the first, which is all that BERT's head reads.

    Keys and values are still needed for every token; queries, the attention's output and the feed-forward layers only
    for the first. It is exact, and saves a model of n layers about (1 - 2/12) / n of its work.

    :param layer: The layer whose weights it uses.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None, *_: object, **__: object) -> torch.Tensor:
        """Return the first token's state.

        :param states: All tokens' states, (pairs, tokens, width).
        :param mask: Which tokens each token attends to, (pairs, 1, tokens, tokens).
        :return: (pairs, 1, width).
        """
        attention = self.layer.attention.self
        first = states[:, :1]
        query, key, value = (
            projected.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)
            for projected in (attention.query(first), attention.key(states), attention.value(states))
        )
        mask = None if mask is None else mask[:, :, :1]
        context = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=attention.scaling)
        attended = self.layer.attention.output(context.transpose(1, 2).flatten(2), first)
        output: torch.Tensor = self.layer.feed_forward_chunk(attended)
        return output


def use_first_token_layer(model: Model, pairs: Sequence[Pair], wanted: Sequence[Sequence[float]]) -> bool:
    """Let the last layer compute the first token alone, if the model is built like BERT and its scores stay the same.

    :param model: A model; it is changed in place where that is exact.
    :param pairs: Pairs to compare scores on.
    :param wanted: Their logits.
    :return: Whether the model was changed.
    """
    try:
        layers = model.model.base_model.encoder.layer
        last = layers[-1]
        attention = last.attention.self
        _ = attention.query, attention.key, attention.value, attention.attention_head_size, attention.scaling
        _ = last.attention.output, last.feed_forward_chunk
    except AttributeError:
        return False
    layers[-1] = FirstTokenLayer(last)
    exact = _same(logits(model, pairs), wanted)
    if not exact:
        layers[-1] = last
    return exact


def layers_of(model: Model) -> nn.ModuleList:
    """Return the stack of layers: the one list of modules that is as long as the configuration says.

    :raises ModelError: If there is none, or more than one.
    """
    depth = getattr(model.config, "num_hidden_layers", None)
    stacks = [module for module in model.model.modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    if len(stacks) != 1:
        raise ModelError(f"a {model.config.model_type} model must have one stack of layers, and has {len(stacks)}")
    return stacks[0]


def reads_first_token_only(model: Model) -> bool:
    """Return whether a model's head reads nothing of the last layer but the first token, whatever the architecture.

    Every other token's state is set to 0, and the score must stay the same. Where the tokenizer pads on the left, the
    first token isn't at the same place in every pair, and the answer is no.
    """

    def keep_first(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        states = (output[0] if isinstance(output, tuple) else output).clone()
        states[:, 1:] = 0
        return (states, *output[1:]) if isinstance(output, tuple) else states

    pairs = [Pair("a question", "a text of some words")]
    wanted = logits(model, pairs)
    hook = layers_of(model)[-1].register_forward_hook(keep_first)
    try:
        return model.tokenizer.padding_side == "right" and _same(logits(model, pairs), wanted)
    finally:
        hook.remove()


def _same(values: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> bool:
    return bool(np.allclose(values, wanted, rtol=0, atol=_EXACT * max(1.0, np.abs(wanted).max())))

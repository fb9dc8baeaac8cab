"""From a model and a list of layers to a student; and which of its layers learns from which."""

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder as Model
from torch import nn

from secondpass.errors import ConfigurationError, ModelError
from secondpass.scoring.engines.torch import quiet
from secondpass.scoring.model_files import HubAccess, find_model
from secondpass.training.run_folder import files_hash
from secondpass.training.settings import Student

_FOREIGN = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, ImportError)
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "mlp_dropout")


def open_model(name: str, revision: str | None = None, max_length: int | None = None) -> Model:
    """Open a cross-encoder's torch weights on the CPU, in float32.

    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If it can't be opened, or doesn't give one score for each pair.
    """
    folder = find_model(name, "torch", HubAccess(revision))
    if not folder.has_checkpoint:
        raise ModelError(f"training needs config.json and safetensors weights, and {folder.path} has none")
    with quiet():
        try:
            model = Model(
                str(folder.path),
                device="cpu",
                num_labels=None,
                max_length=max_length,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
        except _FOREIGN as error:
            raise ModelError(f"sentence-transformers can't load {name}: {error!s:.500}") from error
    if model.num_labels != 1:
        raise ModelError(f"a teacher or student must give one score for each pair, and {name} gives {model.num_labels}")
    return model


def make_student(student: Student, base: str, max_length: int | None) -> Model:
    """Return the student, in training mode's settings: no dropout, word embeddings frozen if asked for.

    Without dropout, since it learns from a teacher's noiseless outputs.

    :raises ConfigurationError: If it asks for layers that the base doesn't have.
    """
    model = open_model(base, student.revision, max_length)
    layers = layers_of(model)
    if student.layers is not None:
        if student.layers[-1] >= len(layers):
            raise ConfigurationError(
                f"layers must be among the base's {len(layers)} (0 to {len(layers) - 1}), got {student.layers}"
            )
        keep_layers(model, student.layers)
        _check_reopens(model, base)
    _switch_off_dropout(model)
    if student.freeze_word_embeddings:
        model.model.get_input_embeddings().requires_grad_(requires_grad=False)
    return model


def _check_reopens(model: Model, base: str) -> None:
    """Check that what is saved is what is trained: architectures differ in what a layer's place decides.

    :raises ModelError: If the kept layers can't be saved, or have other weights or scores when they are opened again.
    """
    pairs = [("a question", "a text"), ("another", "one more text, longer than the first")]
    with TemporaryDirectory() as folder:
        try:
            with quiet():
                model.save_pretrained(folder, create_model_card=False, safe_serialization=True)
            again = open_model(folder)
            before, after = (item.predict(pairs, show_progress_bar=False) for item in (model, again))
        except _FOREIGN as error:
            raise ModelError(f"{base} can't be cut to these layers: {error!s:.500}") from error
    if model.state_dict().keys() != again.state_dict().keys() or not np.allclose(before, after, atol=1e-4):
        raise ModelError(
            f"{base} can't be cut to these layers: opened again, they make another model. Keep those whose kind and "
            "place the architecture repeats (often the first, and whole periods), or take another base"
        )


def _switch_off_dropout(model: Model) -> None:
    """Set every dropout to 0, where it lives and in the configuration that is saved."""
    for name in _DROPOUTS:
        if isinstance(getattr(model.config, name, None), float):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in _DROPOUTS:  # attention functions are handed a number that the layer keeps
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def describe(model: Model, base: str, revision: str | None) -> dict[str, Any]:
    """Return what a manifest says of the model that a student was made from."""
    folder = find_model(base, "torch", HubAccess(revision))
    return {
        "name": folder.name(base),
        "revision": folder.revision,
        "sha256": files_hash(folder.path, "*.safetensors"),
        "layers": len(layers_of(model)),
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "max_length": model.max_seq_length,
    }


def layers_of(model: Model) -> nn.ModuleList:
    """Return the stack of layers: the one list of modules that is as long as the configuration says.

    :raises ModelError: If there is none, or more than one.
    """
    depth = getattr(model.config, "num_hidden_layers", None)
    stacks = [module for module in model.model.modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    if len(stacks) != 1:
        raise ModelError(f"the layers of a {model.config.model_type} model can't be told: {len(stacks)} stacks found")
    return stacks[0]


def keep_layers(model: Model, keep: Sequence[int]) -> None:
    """Drop all layers but those, in place, and say so in the configuration."""
    stack = layers_of(model)
    kept = [stack[index] for index in keep]
    types = getattr(model.config, "layer_types", None)
    if isinstance(types, list) and len(types) == len(stack):
        model.config.layer_types = [types[index] for index in keep]
    del stack[:]
    stack.extend(kept)
    model.config.num_hidden_layers = len(kept)


@torch.no_grad()
def first_token_layer(model: Model) -> int | None:
    """Return the last layer's number if the head reads nothing of it but the first token, or None.

    It is tried out: every other token's state is taken away, and the score must stay what it was. Where the tokeniser
    pads on the left, the first token isn't at the same place in every pair, and the answer is None.
    """
    if model.tokenizer.padding_side != "right":
        return None
    last = layers_of(model)[-1]

    def only_first(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        states = (output[0] if isinstance(output, tuple) else output).clone()
        states[:, 1:] = 0
        return (states, *output[1:]) if isinstance(output, tuple) else states

    training = model.training
    model.eval()
    features = model.preprocess([("a question", "a text of some words")])
    features = {name: value.to(model.device) for name, value in features.items() if torch.is_tensor(value)}
    whole = model(dict(features))["scores"].float()
    hook = last.register_forward_hook(only_first)
    try:
        alone = model(dict(features))["scores"].float()
    finally:
        hook.remove()
        model.train(training)
    return len(layers_of(model)) - 1 if torch.allclose(whole, alone, atol=1e-5) else None


def matched_layers(teacher: Model, student: Model, match: Sequence[int] | None) -> tuple[int, ...]:
    """Return for each of the student's layers the teacher's layer that it learns from.

    :raises ConfigurationError: If their widths or vocabularies differ, or a layer isn't there.
    """
    wide, own = teacher.config.hidden_size, student.config.hidden_size
    if wide != own:
        raise ConfigurationError(
            f"hidden states can be matched where teacher and student have the same width, got {wide} and {own}: "
            "set hidden_weight=0"
        )
    if teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise ConfigurationError(
            "hidden states can be matched where teacher and student share a vocabulary, and these don't: "
            "set hidden_weight=0"
        )
    depth, count = len(layers_of(teacher)), len(layers_of(student))
    chosen = tuple(match) if match is not None else tuple(round((i + 1) * depth / count) - 1 for i in range(count))
    if len(chosen) != count or max(chosen) >= depth:
        raise ConfigurationError(
            f"match must name one of the teacher's {depth} layers for each of the student's {count}, got {chosen}"
        )
    return chosen

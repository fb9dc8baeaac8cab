"""Students: a base model cut to some of its layers, and the teacher's layers that they learn from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder as Model
from torch import nn

from secondpass.errors import ConfigurationError, ModelError
from secondpass.optimize.checkpoint import OPENING_ERRORS, layers_of, logits, open_model
from secondpass.scores import Pair
from secondpass.scoring.engines.torch import quiet
from secondpass.scoring.hub import HubAccess
from secondpass.scoring.model_files import ModelFolder, find_model
from secondpass.training.settings import Student

_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "mlp_dropout")


def open_scorer(
    name: str, revision: str | None = None, max_length: int | None = None, config: Mapping[str, Any] | None = None
) -> Model:
    """Open a teacher or a student's base; see ``open_model``.

    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If it can't be opened, or doesn't give one score for each pair.
    """
    model = open_model(find_model(name, "torch", HubAccess(revision)), max_length, config)
    if model.num_labels != 1:
        raise ModelError(f"a teacher or student must give one score for each pair, and {name} gives {model.num_labels}")
    return model


def make_student(student: Student, base: str, max_length: int | None) -> Model:
    """Return the student without dropout, its word embeddings frozen if asked for.

    There is no dropout because a teacher's outputs have no noise to overfit to.

    :raises ConfigurationError: If it asks for layers that the base doesn't have.
    :raises ModelError: If the base can't be cut to these layers.
    """
    model = open_scorer(base, student.revision, max_length, dict.fromkeys(_DROPOUTS, 0.0))
    depth = len(layers_of(model))
    if student.layers is not None:
        if student.layers[-1] >= depth:
            raise ConfigurationError(
                f"layers must be among the base's {depth} (0 to {depth - 1}), got {student.layers}"
            )
        keep_layers(model, student.layers)
        _check_reopens(model, base)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if student.freeze_word_embeddings:
        model.model.get_input_embeddings().requires_grad_(requires_grad=False)
    return model


def keep_layers(model: Model, keep: Sequence[int]) -> None:
    """Remove all layers but those, in place and in the configuration."""
    stack = layers_of(model)
    kept = [stack[index] for index in keep]
    types = getattr(model.config, "layer_types", None)
    if isinstance(types, list) and len(types) == len(stack):
        model.config.layer_types = [types[index] for index in keep]
    del stack[:]
    stack.extend(kept)
    model.config.num_hidden_layers = len(kept)


def _check_reopens(model: Model, base: str) -> None:
    """Check that what is saved is what is trained: in some architectures a layer's place decides its kind.

    :raises ModelError: If the kept layers can't be saved, or have other weights or scores when they are opened again.
    """
    pairs = [Pair("a question", "a text"), Pair("another", "one more text, longer than the first")]
    with TemporaryDirectory() as folder:
        try:
            with quiet():
                model.save_pretrained(folder, create_model_card=False, safe_serialization=True)
            again = open_model(ModelFolder(Path(folder)))
            before, after = (logits(item, pairs) for item in (model, again))
        except (*OPENING_ERRORS, ModelError) as error:
            raise ModelError(f"{base} can't be cut to these layers: {error!s:.500}") from error
    if model.state_dict().keys() != again.state_dict().keys() or not np.allclose(before, after, atol=1e-4):
        raise ModelError(
            f"{base} can't be cut to these layers: opened again, they make another model. Keep those whose kind and "
            "place the architecture repeats (often the first, and whole periods), or take another base"
        )


def matched_layers(teacher: Model, student: Model, match: Sequence[int] | None) -> tuple[int, ...]:
    """Return for each of the student's layers the teacher's layer that it learns from.

    :raises ConfigurationError: If their widths or vocabularies differ, or a layer isn't there.
    """
    wide, own = teacher.config.hidden_size, student.config.hidden_size
    unlike = f"have the same width, got {wide} and {own}" if wide != own else ""
    if not unlike and teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        unlike = "share a vocabulary, and these don't"
    if unlike:
        raise ConfigurationError(f"to match hidden states, teacher and student must {unlike}: set hidden_weight=0")
    depth, count = len(layers_of(teacher)), len(layers_of(student))
    chosen = tuple(match) if match is not None else tuple(round((i + 1) * depth / count) - 1 for i in range(count))
    if len(chosen) != count or max(chosen) >= depth:
        raise ConfigurationError(
            f"match must name one of the teacher's {depth} layers for each of the student's {count}, got {chosen}"
        )
    return chosen


def describe(model: Model, base: str, revision: str | None) -> dict[str, Any]:
    """Return what a manifest records of the model that a student is made from."""
    folder = find_model(base, "torch", HubAccess(revision))
    return {
        "name": folder.name(base),
        "revision": folder.revision,
        "sha256": files_hash(folder.path, "**/*.safetensors"),
        "layers": len(layers_of(model)),
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "max_length": model.max_seq_length,
    }


def files_hash(folder: Path, *patterns: str) -> dict[str, str]:
    """Return the SHA-256 of the files that match, by their names relative to the folder."""
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

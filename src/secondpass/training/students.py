"""Students of a distillation: a base cut to some of its layers, and the loss that matches a teacher's hidden states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from secondpass.engines.torch import quiet
from secondpass.errors import ConfigurationError, ModelError
from secondpass.models import bundled_names
from secondpass.models.files import ModelFolder, find_model
from secondpass.models.hub import HubAccess
from secondpass.optimize.checkpoint import OPENING_ERRORS, layers_of, logits, open_model, reads_first_token_only
from secondpass.records import Pair

_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "mlp_dropout")


def open_scorer(name: str, max_length: int | None = None, config: Mapping[str, Any] | None = None) -> Model:
    """Open a model to be trained, or to teach; see ``open_model``.

    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If it can't be opened, or doesn't give one score for each pair.
    """
    if name in bundled_names():
        raise ModelError(
            f"the bundled {name} is an int8 graph, which can't be trained: give a folder or hub id with its float32 "
            "weights, such as cross-encoder/ms-marco-MiniLM-L6-v2"
        )
    model = open_model(find_model(name, "torch", HubAccess()), max_length, config)
    if model.num_labels != 1:
        raise ModelError(f"to train, models must give one score for each pair, and {name} gives {model.num_labels}")
    return model


def make_student(base: str, layers: Sequence[int] | None = None, max_length: int | None = None) -> Model:
    """Return a base cut to some of its layers, without dropout: a teacher's outputs have no noise to overfit to.

    :raises ConfigurationError: If it asks for layers that the base doesn't have.
    :raises ModelError: If the base can't be cut to these layers.
    """
    model = open_scorer(base, max_length, dict.fromkeys(_DROPOUTS, 0.0))
    depth = len(layers_of(model))
    if layers is not None:
        if layers[-1] >= depth:
            raise ConfigurationError(f"layers must be among the base's {depth} (0 to {depth - 1}), got {layers}")
        keep_layers(model, layers)
        _check_reopens(model, base)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
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


class HiddenStatesLoss(nn.Module):
    """The weighted mean of the squared error of the scores and the relative error of matched hidden states.

    Teacher and student read the same batch, which sentence-transformers' own losses for scores can't share. With one
    column of texts beside the questions the scores themselves are compared, with two their differences. The student's
    layers are matched with the teacher's evenly, the last with the last; of the teacher's last layer only the first
    token counts where its head reads no other.

    :param model: The student; the trainer replaces it by its wrapped form.
    :param teacher: The teacher.
    :param weight: The weight of the hidden states, where the scores have 1.
    :raises ConfigurationError: If widths or vocabularies differ.
    """

    def __init__(self, model: Model, teacher: Model, weight: float) -> None:
        super().__init__()
        _check_alike(teacher, model)
        depth, count = len(layers_of(teacher)), len(layers_of(model))
        self._match = [round((index + 1) * depth / count) for index in range(count)]
        self._last = depth if reads_first_token_only(teacher) else None
        self._teacher = (teacher.eval().requires_grad_(requires_grad=False),)  # torch counts no weights in a tuple
        self._weight = weight
        self.model = model
        for each in (model, teacher):
            each.config.output_hidden_states = True

    def forward(self, inputs: Sequence[Any], labels: object = None, **options: Any) -> Tensor:  # noqa: ARG002
        """Return the loss of one batch, a scalar.

        :param inputs: A column of questions, and one or two columns of texts.
        :param labels: Unused: the teacher is asked for its scores.
        :param options: What the trainer passes on to ``preprocess``.
        """
        queries, *columns = inputs
        pairs = [pair for texts in columns for pair in zip(queries, texts, strict=True)]
        (teacher,), student = self._teacher, self.model
        features = batch_to_device(student.preprocess(pairs, **options), student.device)
        own = student(dict(features))
        with torch.no_grad():
            theirs = teacher.to(student.device)(dict(features))
        errors = (own["scores"].float() - theirs["scores"].float()).view(len(columns), -1)
        on_scores = (errors[0] - errors[1] if len(columns) > 1 else errors).square().mean()
        layers = zip(own["all_layer_embeddings"][1:], self._match, strict=True)  # the embeddings come first
        mask = features["attention_mask"]
        hidden = []
        for states, layer in layers:
            tokens = slice(0, 1 if layer == self._last else None)
            targets = theirs["all_layer_embeddings"][layer]
            hidden.append(relative_error(states[:, tokens], targets[:, tokens], mask[:, tokens]))
        total: Tensor = (self._weight * torch.stack(hidden).mean() + on_scores) / (self._weight + 1)
        return total


def _check_alike(teacher: Model, student: Model) -> None:
    wide, own = teacher.config.hidden_size, student.config.hidden_size
    unlike = f"have the same width, got {wide} and {own}" if wide != own else ""
    if not unlike and teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        unlike = "share a vocabulary, and these don't"
    if unlike:
        raise ConfigurationError(f"to match hidden states, teacher and student must {unlike}: set hidden_weight=0")


def relative_error(states: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the squared distance of hidden states, relative to the targets' squared length.

    :param states: (pairs, tokens, width)
    :param targets: (pairs, tokens, width)
    :param mask: (pairs, tokens), 0 at padding, which doesn't count.
    """
    real = mask.unsqueeze(-1).float()  # a product costs less than gathering the real tokens
    wanted = targets.float() * real
    error: Tensor = (states.float() * real - wanted).square().sum() / wanted.square().sum()
    return error

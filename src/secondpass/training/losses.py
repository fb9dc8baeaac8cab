"""What the student is taught by: the teacher's scores, and its hidden states on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from secondpass.training.settings import DistillSettings


@dataclass(frozen=True, slots=True)
class Guide:
    """A teacher whose hidden states are matched.

    :param model: The teacher.
    :param match: For each of the student's layers, the teacher's layer, counted from 0.
    :param first_token_layer: The teacher's layer of which nothing but the first token is read, if there is one: its
        last, where the head is that of BERT. What it says of other tokens means nothing, and isn't matched.
    """

    model: Model
    match: tuple[int, ...]
    first_token_layer: int | None = None


class DistillationLoss(nn.Module):
    """The weighted sum of the score's objective and the relative error of matched hidden states.

    ``CrossEncoderTrainer`` calls it with columns of questions and of lists of texts, and with the teacher's scores
    as labels; where a guide is given, its own scores from the same forward pass are taken instead.

    :param model: The student; the trainer replaces it by its wrapped form.
    :param settings: Objective and weights.
    :param guide: The teacher whose hidden states are matched, if any.
    """

    def __init__(self, model: Model, settings: DistillSettings, guide: Guide | None = None) -> None:
        super().__init__()
        self.model = model
        self._settings = settings
        self._guide = (
            [guide] if guide else []
        )  # in a list: torch must not take the teacher's weights for the loss's own

    def forward(
        self,
        inputs: Sequence[Any],
        labels: Sequence[Tensor] | None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """Return the loss of one batch, a scalar.

        :param inputs: A column of questions, and a column of lists of texts.
        :param labels: For each question a tensor of raw scores, one for each text; None with a guide.
        """
        queries, texts = inputs
        pairs = [(query, text) for query, own in zip(queries, texts, strict=True) for text in own]
        student: Any = self.model
        unwrapped = getattr(student, "module", student)
        features = batch_to_device(unwrapped.preprocess(pairs, prompt=prompt, task=task), unwrapped.device)
        outputs = student(dict(features))
        scores = outputs["scores"].float().view(-1)
        sizes = [len(own) for own in texts]
        loss = scores.new_zeros(())
        if self._guide:
            guided = guide_outputs(self._guide[0], features)
            targets = guided["scores"].float().view(-1)
            loss = self._settings.hidden_weight * self._hidden(outputs, guided, features["attention_mask"])
        else:
            targets = torch.cat(list(labels or [])).to(scores.device).float()
        on_scores = score_loss(scores, targets, sizes, self._settings.objective)
        total: Tensor = loss + self._settings.score_weight * on_scores
        return total

    def _hidden(self, outputs: Mapping[str, Any], guided: Mapping[str, Any], mask: Tensor) -> Tensor:
        own, theirs = outputs["all_layer_embeddings"], guided["all_layer_embeddings"]
        errors = []
        for index, layer in enumerate(self._guide[0].match):
            read = 1 if layer == self._guide[0].first_token_layer else mask.shape[1]
            errors.append(relative_error(own[index + 1][:, :read], theirs[layer + 1][:, :read], mask[:, :read]))
        return torch.stack(errors).mean()


@torch.no_grad()
def guide_outputs(guide: Guide, features: Mapping[str, Any]) -> dict[str, Any]:
    """Run the teacher on the student's own tokens."""
    result: dict[str, Any] = guide.model(dict(features))
    return result


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


def score_loss(scores: Tensor, targets: Tensor, sizes: Sequence[int], objective: str) -> Tensor:
    """Return the mean squared error of scores, or of the differences of scores within each question.

    :param scores: (pairs,) of the student.
    :param targets: (pairs,) of the teacher.
    :param sizes: How many pairs each question has, in order.

    The mean over all i, j of ``((s_i - s_j) - (t_i - t_j))**2`` is twice the variance of ``s - t``, which costs no
    square of pairs.
    """
    errors = scores - targets
    if objective == "mse":
        return errors.square().mean()
    owner = torch.tensor(list(chain.from_iterable([index] * size for index, size in enumerate(sizes))))
    owner = owner.to(errors.device)
    counts = torch.tensor(sizes, device=errors.device)
    means = errors.new_zeros(len(sizes)).index_add(0, owner, errors) / counts
    return 2 * (errors - means[owner]).square().mean()

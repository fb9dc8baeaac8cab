"""The distillation loss: the teacher's scores and, optionally, its hidden states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import CrossEncoder as Model
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from secondpass.training.settings import DistillSettings


@dataclass(frozen=True, slots=True)
class HiddenTeacher:
    """A teacher whose hidden states are matched.

    :param model: The teacher.
    :param match: For each of the student's layers, the teacher's layer that it learns from, counted from 0.
    :param first_token_only: Whether of the teacher's last layer only the first token is matched, because its head
        reads no other.
    """

    model: Model
    match: tuple[int, ...]
    first_token_only: bool = False


class DistillationLoss(nn.Module):
    """The weighted sum of the score objective and the relative error of matched hidden states.

    Both come from one forward pass of student and teacher, which sentence-transformers' own losses can't share.
    ``CrossEncoderTrainer`` calls it with columns of questions and of lists of texts, and with the teacher's scores
    as labels; with a hidden teacher, the scores come from its forward pass instead.

    :param model: The student; the trainer replaces it by its wrapped form.
    :param settings: Objective and weights.
    :param teacher: The teacher whose hidden states are matched, if any.
    """

    def __init__(self, model: Model, settings: DistillSettings, teacher: HiddenTeacher | None = None) -> None:
        super().__init__()
        self.model = model
        self._settings = settings
        self._teacher = (teacher,)  # in a tuple, so that torch doesn't count its weights as the loss's own

    @property
    def teacher(self) -> HiddenTeacher | None:
        """The teacher whose hidden states are matched, if any."""
        return self._teacher[0]

    def forward(
        self,
        inputs: Sequence[Any],
        labels: Sequence[Tensor] | None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """Return the loss of one batch, a scalar.

        :param inputs: A column of questions, and a column of lists of texts.
        :param labels: For each question a tensor of raw scores, one for each text; None with a hidden teacher.
        """
        queries, texts = inputs
        pairs = [(query, text) for query, own in zip(queries, texts, strict=True) for text in own]
        student: Any = self.model
        unwrapped = getattr(student, "module", student)
        features = batch_to_device(unwrapped.preprocess(pairs, prompt=prompt, task=task), unwrapped.device)
        outputs = student(dict(features))
        scores = outputs["scores"].float().view(-1)
        hidden = scores.new_zeros(())
        teacher = self.teacher
        if teacher is None:
            targets = torch.cat(list(labels or [])).to(scores.device).float()
        else:
            with torch.no_grad():
                reference = teacher.model(dict(features))
            targets = reference["scores"].float().view(-1)
            hidden = hidden_loss(outputs, reference, features["attention_mask"], teacher)
        on_scores = score_loss(scores, targets, list(map(len, texts)), self._settings.objective)
        total: Tensor = self._settings.hidden_weight * hidden + self._settings.score_weight * on_scores
        return total


def hidden_loss(
    outputs: Mapping[str, Any], reference: Mapping[str, Any], mask: Tensor, teacher: HiddenTeacher
) -> Tensor:
    """Return the mean relative error of the student's layers against the teacher's layers that they are matched with.

    :param outputs: The student's outputs.
    :param reference: The teacher's outputs.
    :param mask: (pairs, tokens), 0 at padding.
    """
    own, theirs = outputs["all_layer_embeddings"], reference["all_layer_embeddings"]  # the embeddings first
    errors = []
    for index, layer in enumerate(teacher.match):
        tokens = 1 if teacher.first_token_only and layer == len(theirs) - 2 else mask.shape[1]
        errors.append(relative_error(own[index + 1][:, :tokens], theirs[layer + 1][:, :tokens], mask[:, :tokens]))
    return torch.stack(errors).mean()


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

    The mean over all i, j of ``((s_i - s_j) - (t_i - t_j))**2`` is twice the variance of ``s - t``, which is linear
    in the pairs.
    """
    errors = scores - targets
    if objective == "mse":
        return errors.square().mean()
    counts = torch.tensor(sizes, device=errors.device)
    owner = torch.arange(len(sizes), device=errors.device).repeat_interleave(counts)
    means = errors.new_zeros(len(sizes)).index_add(0, owner, errors) / counts
    return 2 * (errors - means[owner]).square().mean()

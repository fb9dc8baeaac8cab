"""The loss: relative errors of hidden states, and scores by themselves or within a question."""

from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from secondpass.training.losses import DistillationLoss, HiddenTeacher, relative_error, score_loss
from secondpass.training.settings import DistillSettings, Student
from secondpass.training.students import keep_layers, make_student, open_scorer

QUERIES = ["what is it", "how old is the moon"]
TEXTS = [["the cat can eat", "a fish"], ["the moon is old and cold", "the sea", "a bird can fly over the sea"]]


@given(arrays("float32", st.integers(2, 8), elements=st.floats(-8, 8, width=16)), st.integers(1, 7))
def test_margin_mse_is_the_mean_over_all_pairs_of_one_question(errors: object, cut: int) -> None:
    """Computed by its definition, the mean of ((s_i - s_j) - (t_i - t_j))**2, it is the same number."""
    values = torch.tensor(errors)
    sizes = [size for size in (min(cut, len(values)), len(values) - min(cut, len(values))) if size]
    expected, start = 0.0, 0
    for size in sizes:
        own = values[start : start + size].tolist()
        expected += size * sum((a - b) ** 2 for a, b in product(own, own)) / size**2
        start += size
    found = score_loss(values, torch.zeros_like(values), sizes, "margin-mse")
    assert float(found) == pytest.approx(expected / len(values), rel=1e-4, abs=1e-5)


def test_margin_mse_forgives_what_is_common_to_a_question() -> None:
    """A student that is off by one constant for each question has nothing left to learn; by MSE it has."""
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    scores = targets + torch.tensor([7.0, 7.0, -3.0, -3.0, -3.0])
    assert float(score_loss(scores, targets, [2, 3], "margin-mse")) == pytest.approx(0, abs=1e-6)
    assert float(score_loss(scores, targets, [2, 3], "mse")) == pytest.approx((2 * 49 + 3 * 9) / 5)


def test_the_relative_error_is_0_for_the_same_states_and_1_for_none() -> None:
    """Its unit is the teacher's own squared length."""
    targets = torch.randn(2, 5, 8)
    mask = torch.ones(2, 5)
    assert float(relative_error(targets, targets, mask)) == 0
    assert float(relative_error(torch.zeros_like(targets), targets, mask)) == pytest.approx(1)
    assert float(relative_error(targets * 100, targets * 100 * 2, mask)) == pytest.approx(0.25)


@torch.no_grad()
def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny_torch_folder: Path) -> None:
    """Hidden states are compared layer by layer, and scores pair by pair: equal models have loss 0, others don't."""
    teacher, same, cut = (open_scorer(str(tiny_torch_folder)).eval() for _ in range(3))
    keep_layers(cut, (1,))
    for model in (teacher, same, cut):
        model.config.output_hidden_states = True
    settings = DistillSettings(score_weight=1)
    matched, crossed = HiddenTeacher(teacher, (0, 1)), HiddenTeacher(teacher, (1, 0))
    assert float(DistillationLoss(same, settings, matched)([QUERIES, TEXTS], None)) == pytest.approx(0, abs=1e-8)
    assert float(DistillationLoss(same, settings, crossed)([QUERIES, TEXTS], None)) > 0.01
    assert float(DistillationLoss(cut, settings, HiddenTeacher(teacher, (1,)))([QUERIES, TEXTS], None)) > 0.001


@torch.no_grad()
def test_scores_belong_to_their_pairs(tiny_torch_folder: Path) -> None:
    """A student's own scores, given as labels, are loss 0; the same in another order aren't."""
    student = open_scorer(str(tiny_torch_folder)).eval()
    pairs = [(query, text) for query, texts in zip(QUERIES, TEXTS, strict=True) for text in texts]
    values = list(student(student.preprocess(pairs))["scores"].view(-1).split([len(texts) for texts in TEXTS]))
    loss = DistillationLoss(student, DistillSettings(hidden_weight=0, score_weight=1))
    assert float(loss([QUERIES, TEXTS], values)) == pytest.approx(0, abs=1e-8)
    assert float(loss([QUERIES, TEXTS], [own.flip(0) for own in values])) > 1e-6


@torch.no_grad()
def test_what_no_head_reads_is_not_matched(tiny_torch_folder: Path) -> None:
    """Of the layer that is read at its first token alone, the others teach nothing."""
    teacher, student = open_scorer(str(tiny_torch_folder)).eval(), make_student(Student(), str(tiny_torch_folder), None)
    for model in (teacher, student):
        model.config.output_hidden_states = True
    last = student.eval().model.bert.encoder.layer[1].output.LayerNorm
    last.register_forward_hook(lambda _module, _inputs, states: torch.cat((states[:, :1], states[:, 1:] * 3), dim=1))
    settings = DistillSettings(score_weight=0)
    whole, first = (
        DistillationLoss(student, settings, HiddenTeacher(teacher, (0, 1), first)) for first in (False, True)
    )
    assert float(first([QUERIES, TEXTS], None)) == pytest.approx(0, abs=1e-8)
    assert float(whole([QUERIES, TEXTS], None)) > 0.1


def test_padding_teaches_nothing() -> None:
    """Whatever stands at masked positions leaves the error as it is."""
    states, targets = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = relative_error(states, targets, mask)
    states[0, 3:], targets[0, 3:] = 1000, -1000
    torch.testing.assert_close(relative_error(states, targets, mask), expected)

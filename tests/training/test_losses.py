"""The loss with matched hidden states: relative errors of layers, and scores by themselves or as differences."""

from pathlib import Path

import pytest
import torch

from secondpass.training.students import HiddenStatesLoss, keep_layers, open_scorer, relative_error

pytestmark = pytest.mark.slow


QUERIES = ["what is it", "how old is the moon", "what is it"]
TEXTS = [["the cat can eat", "the moon is old and cold", "a bird can fly over the sea"]]
OTHERS = [["a fish", "the sea", "the cat"]]


def test_the_relative_error_is_0_for_the_same_states_and_1_for_none() -> None:
    """Its unit is the teacher's own squared length."""
    targets = torch.randn(2, 5, 8)
    mask = torch.ones(2, 5)
    assert float(relative_error(targets, targets, mask)) == 0
    assert float(relative_error(torch.zeros_like(targets), targets, mask)) == pytest.approx(1)
    assert float(relative_error(targets * 100, targets * 100 * 2, mask)) == pytest.approx(0.25)


def test_padding_teaches_nothing() -> None:
    """Whatever stands at masked positions leaves the error as it is."""
    states, targets = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = relative_error(states, targets, mask)
    states[0, 3:], targets[0, 3:] = 1000, -1000
    torch.testing.assert_close(relative_error(states, targets, mask), expected)


@torch.no_grad()
@pytest.mark.parametrize("columns", [TEXTS, [*TEXTS, *OTHERS]], ids=["scores", "differences"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny_torch_folder: Path, columns: list[list[str]]) -> None:
    """Hidden states are compared layer by layer, and scores pair by pair: equal models have loss 0, others don't."""
    teacher, same, cut = (open_scorer(str(tiny_torch_folder)) for _ in range(3))
    keep_layers(cut, (1,))
    assert float(HiddenStatesLoss(same, teacher, 20)([QUERIES, *columns], None)) == pytest.approx(0, abs=1e-8)
    for weight in (0.0, 20.0):
        assert float(HiddenStatesLoss(cut, teacher, weight)([QUERIES, *columns], None)) > 1e-5


@torch.no_grad()
def test_differences_forgive_what_all_scores_have_in_common(tiny_torch_folder: Path) -> None:
    """A student that is off by a constant has nothing left to learn from differences of scores; from scores it has."""
    teacher, student = (open_scorer(str(tiny_torch_folder)) for _ in range(2))
    student.model.classifier.bias += 7
    loss = HiddenStatesLoss(student, teacher, 0)
    assert float(loss([QUERIES, *TEXTS, *OTHERS], None)) == pytest.approx(0, abs=1e-6)
    assert float(loss([QUERIES, *TEXTS], None)) == pytest.approx(49, rel=1e-3)


@torch.no_grad()
def test_what_no_head_reads_is_not_matched(tiny_torch_folder: Path) -> None:
    """BERT's head reads the first token of the last layer alone: what the others are teaches nothing."""
    teacher, student = (open_scorer(str(tiny_torch_folder)) for _ in range(2))
    loss = HiddenStatesLoss(student, teacher, 1e6)
    layers = student.model.bert.encoder.layer
    stretch = lambda _module, _inputs, states: torch.cat((states[:, :1], states[:, 1:] * 3), dim=1)  # noqa: E731
    layers[1].output.LayerNorm.register_forward_hook(stretch)
    assert float(loss([QUERIES, *TEXTS], None)) == pytest.approx(0, abs=1e-8)
    layers[0].output.LayerNorm.register_forward_hook(stretch)
    assert float(loss([QUERIES, *TEXTS], None)) > 0.1

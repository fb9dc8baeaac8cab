"""The teacher's checkpoint, made from a published int8 graph."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from benchmarks.models.teacher import write_teacher
from secondpass import load_scorer
from secondpass.records import Score

pytestmark = pytest.mark.slow


QUERY = "how long does a flea live?"
TEXTS = ["The adult flea lives for two to three months.", "Fleas have no wings.", "The market opens at nine."]


@pytest.fixture(scope="module")
def teacher(published_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint made from the real graph."""
    out = tmp_path_factory.mktemp("teacher") / "float32"
    write_teacher(published_folder, out)
    return out


def test_its_weights_are_those_of_the_graph(teacher: Path, torch_checkpoint: Path) -> None:
    """Every tensor equals, bit for bit, that of an independent conversion of the same graph."""
    ours, expected = (load_file(folder / "model.safetensors") for folder in (teacher, torch_checkpoint))
    assert ours.keys() == expected.keys()
    assert all((ours[name] == expected[name]).all() for name in expected)


def test_its_scores_are_those_of_the_graph(teacher: Path, published_folder: Path) -> None:
    """In float32 it has the graph's scores, except for the rounding of the graph's activations."""
    values = [
        [outcome.value for outcome in load_scorer(str(folder)).score(QUERY, TEXTS) if isinstance(outcome, Score)]
        for folder in (teacher, published_folder)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.5)
    assert values[0] == sorted(values[0], reverse=True)


def test_its_tokenizer_neither_pads_nor_truncates(teacher: Path) -> None:
    """The published tokenizer pads to 512 tokens; that of the checkpoint neither pads nor truncates."""
    scorer = load_scorer(str(teacher))
    assert scorer.spec.max_tokens == 512
    assert scorer.count_tokens(["flea", "flea " * 600]) == [1, 600]

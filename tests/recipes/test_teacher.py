"""The teacher's checkpoint out of a published int8 graph: the weights that the graph computes with."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from recipes.teacher import write_teacher
from secondpass import load_scorer
from secondpass.scores import Score

QUERY = "how long does a flea live?"
TEXTS = ["The adult flea lives for two to three months.", "Fleas have no wings.", "The market opens at nine."]


@pytest.fixture(scope="module")
def teacher(published_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint made from the real graph."""
    out = tmp_path_factory.mktemp("teacher") / "float32"
    write_teacher(published_folder, out)
    return out


def test_its_weights_are_those_of_the_graph(teacher: Path, torch_checkpoint: Path) -> None:
    """Every tensor equals what an independent reader of the same graph finds, to the last bit."""
    found, expected = (load_file(folder / "model.safetensors") for folder in (teacher, torch_checkpoint))
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)


def test_it_scores_as_the_graph_does(teacher: Path, published_folder: Path) -> None:
    """Run in float32, it gives the graph's scores but for what the graph loses by rounding its activations."""
    values = [
        [outcome.value for outcome in load_scorer(str(folder)).score(QUERY, TEXTS) if isinstance(outcome, Score)]
        for folder in (teacher, published_folder)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.5)
    assert values[0] == sorted(values[0], reverse=True)


def test_texts_are_neither_padded_nor_cut_by_the_tokenizer(teacher: Path) -> None:
    """The published tokenizer pads everything to 512 tokens; that of the checkpoint leaves both to the library."""
    scorer = load_scorer(str(teacher))
    assert scorer.spec.max_tokens == 512
    assert scorer.count_tokens(["flea", "flea " * 600]) == [1, 600]

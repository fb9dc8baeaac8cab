"""``secondpass optimize``: calibration pairs, and the folder that ``load_scorer`` opens."""

import json
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
pytest.importorskip("onnxscript", reason="the extra train isn't installed")
from optimize_worlds import LOOSE, some_pairs
from typer.testing import CliRunner

from secondpass import load_scorer
from secondpass.cli import app
from secondpass.cli.optimize import read_pairs, reference_pairs
from secondpass.errors import InputError
from secondpass.optimize import optimize
from secondpass.records import Pair

pytestmark = pytest.mark.slow


def test_bundled_pairs_are_the_same_each_time_and_of_many_lengths() -> None:
    """The pairs from Python's documentation don't change, have several texts a question, and cover many lengths."""
    pairs = reference_pairs(questions=20, texts=5)
    assert pairs == reference_pairs(questions=20, texts=5)
    assert len(pairs) == 100
    assert len({len(pair.text.split()) for pair in pairs}) > 30


def test_own_pairs_are_read_from_json_lines(tmp_path: Path) -> None:
    """Each line is a query with its texts; blank lines are ignored."""
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"query": "q", "texts": ["a", "b"]}\n\n', "utf-8")
    assert read_pairs(file) == [Pair("q", "a"), Pair("q", "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "at least one line"),
        ("nonsense", "pairs.jsonl, line 1 must be JSON"),
        ('{"query": "q"}', 'line 1: "query" must be a string and "texts" a list'),
        ('{"query": "q", "texts": "a"}', '"texts" a list of strings'),
        ("[1]", "line 1 must be a JSON object"),
    ],
    ids=["empty", "no JSON", "no texts", "one text", "a list"],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    """A file without pairs, or a line that isn't a query with texts, is an error with the line."""
    file = tmp_path / "pairs.jsonl"
    file.write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        read_pairs(file)


def test_the_command_writes_a_folder(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """The command prints the figures, and how to open what it wrote."""
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    lines = [json.dumps({"query": pair.query, "texts": [pair.text]}) for pair in some_pairs(20)]
    pairs.write_text("\n".join(lines), "utf-8")
    command = ["optimize", str(tiny_torch_folder), "--out", str(out), "--calibration", str(pairs)]
    result = CliRunner().invoke(app, [*command, "--forms", "float32"])
    assert result.exit_code == 0, result.output
    assert "float32: " in result.stdout
    assert ", onnx, cpu, float32)" in repr(load_scorer(out))


def test_a_folder_with_several_forms_opens_in_the_fastest(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """With both forms their figures are beside them, and ``load_scorer`` takes int8 on a CPU."""
    out = tmp_path / "out"
    optimize(tiny_torch_folder, out, calibration=some_pairs(40), forms=("int8", "float32"), settings=LOOSE)
    assert list(json.loads((out / "forms.json").read_text())) == ["float32", "int8"]
    assert ", onnx, cpu, int8)" in repr(load_scorer(out))
    assert ", onnx, cpu, float32)" in repr(load_scorer(out / "float32"))


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A missing model ends in one line and exit code 2, and nothing is written."""
    result = CliRunner().invoke(app, ["optimize", "./nope", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "is none of these" in result.stderr
    assert not (tmp_path / "out").exists()

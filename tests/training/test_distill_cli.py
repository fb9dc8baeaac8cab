"""``secondpass distill``: the same as the function, from files."""

from pathlib import Path

import pytest
from test_distill import write_groups
from typer.testing import CliRunner

from secondpass import load_scorer
from secondpass.cli import app

pytestmark = pytest.mark.slow


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["distill", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_student_comes_of_files(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """It prints the student's measures beside the teacher's, and leaves a folder that load_scorer opens."""
    train = write_groups(tmp_path / "train.jsonl", 20, 1, first="what")
    validation = write_groups(tmp_path / "validation.jsonl", 8, 2, first="how")
    out = tmp_path / "student"
    code, printed, complaint = run(
        tiny_torch_folder, "--train", train, "--validation", validation, "--out", out, "--layers", "1",
        "--evaluate-every", 20, "--name", "little", "--license", "mit",
    )  # fmt: skip
    assert code == 0, complaint
    assert "agreement" in printed
    assert "(the teacher: 1.0000)" in printed
    assert "license: mit" in (out / "README.md").read_text(encoding="utf-8")
    assert load_scorer(str(out), engine="torch", device="cpu").score("what", ["a cat"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "one"], "--layers must be whole numbers"),
        (["--epochs", "0"], "epochs must be above 0"),
        (["--layers", "5"], "base's 2"),
        (["--layers", "1,0"], "layers must be numbers from 0 that rise"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tiny_torch_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """The exit code is 2, and there is no traceback and no folder."""
    train = write_groups(tmp_path / "train.jsonl", 2, 1, first="what")
    validation = write_groups(tmp_path / "validation.jsonl", 2, 2, first="how")
    out = tmp_path / "student"
    code, _, complaint = run(tiny_torch_folder, "--train", train, "--validation", validation, "--out", out, *arguments)
    assert code == 2
    assert message in complaint
    assert len(complaint.strip().splitlines()) == 1
    assert not out.exists()

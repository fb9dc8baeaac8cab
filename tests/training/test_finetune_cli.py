"""``secondpass finetune``: from a table to a better model in one command."""

import csv
import json
from pathlib import Path

import pytest
from test_finetune import rows
from typer.testing import CliRunner

from secondpass import load_scorer
from secondpass.cli import app

pytestmark = pytest.mark.slow


SMALL = ("--epochs", 1, "--evaluate-every", 0.5)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["finetune", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def write(path: Path, columns: tuple[str, ...], content: list[tuple[object, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *content])
    return path


def test_a_table_of_pairs_makes_a_model(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """It prints each measure before and after, and leaves a folder that load_scorer opens."""
    pairs = [(row["query"], text, int(n == 0)) for row in rows(20) for n, text in enumerate(row["texts"])]  # type: ignore[arg-type, var-annotated]
    table = write(tmp_path / "train.csv", ("query", "text", "label"), pairs)
    out = tmp_path / "tuned"
    code, printed, complaint = run(tiny_torch_folder, "--train", table, "--out", out, *SMALL, "--license", "mit")
    assert code == 0, complaint
    assert "72 pairs of 18 questions, loss bce" in printed
    assert "average_precision" in printed
    assert "->" in printed
    assert "license: mit" in (out / "README.md").read_text(encoding="utf-8")
    assert load_scorer(str(out), engine="torch", device="cpu").score("what", ["a cat"])


def test_negatives_are_mined_for_positives(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Positives alone become lists with BM25's best texts of a corpus, and the report says how many."""
    positives = [(row["query"], row["texts"][0]) for row in rows(20)]  # type: ignore[index]
    table = write(tmp_path / "train.csv", ("query", "text"), positives)
    corpus = tmp_path / "corpus.jsonl"
    texts = [text for row in rows(30, seed=2) for text in row["texts"]]  # type: ignore[attr-defined]
    corpus.write_text("\n".join(json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)))
    code, printed, complaint = run(
        tiny_torch_folder, "--train", table, "--out", tmp_path / "tuned", *SMALL,
        "--mine", 2, "--corpus", corpus, "--guard", "",
    )  # fmt: skip
    assert code == 0, complaint
    assert "40 hard negatives for 20 of 20 questions" in printed
    assert "no guard" in printed
    assert "loss lambda" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "labels of two values or more, and all 4 are 1. Where only positives are known, mine negatives"),
        (["--loss", "hinge"], "loss must be one of auto, bce"),
        (["--held-out", "1.5"], "the share must be between 0 and 1"),
        (["--mine", "2", "--guard", ""], "no negative was found: 0 hard negatives for 0 of 5 questions"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tiny_torch_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """The exit code is 2, and there is no traceback and no folder."""
    table = write(tmp_path / "train.csv", ("query", "text"), [(f"what is {n}", "the same cat") for n in range(5)])
    code, _, complaint = run(tiny_torch_folder, "--train", table, "--out", tmp_path / "tuned", *arguments)
    assert code == 2
    assert message in complaint
    assert len(complaint.strip().splitlines()) == 1
    assert not (tmp_path / "tuned").exists()

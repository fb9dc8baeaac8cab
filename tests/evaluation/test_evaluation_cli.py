"""The command ``evaluate``: which collection it reads, what it writes, and which exit code says what."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
pytest.importorskip("bm25s", reason="the extra eval isn't installed")
from evaluation_collections import write_beir, write_lines, write_trec
from typer.testing import CliRunner

from secondpass.cli import app

QUICK = ["--depths", "1,2", "--timed", "1", "--budgets", "8 16"]


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["evaluate", "--model", "overlap", *QUICK, *map(str, arguments)])


def test_beir_folder_is_evaluated(tmp_path: Path) -> None:
    """The tables go to stdout, and everything goes to --json; BM25 finds one text a query, so depth 2 is left out."""
    result = run("--beir", write_beir(tmp_path / "animals"), "--json", tmp_path / "out.json")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("# animals test: without and with the second pass\n")
    data = json.loads((tmp_path / "out.json").read_text())
    assert [point["depth"] for point in data["systems"][0]["depths"]] == [0, 1]
    assert [point["budget"] for point in data["systems"][0]["contexts"]] == [8, 16]


def test_tables_go_to_the_file_that_is_named(tmp_path: Path) -> None:
    """With --markdown nothing is printed; measures, models and the limit are those that were asked for."""
    folder = write_beir(tmp_path / "animals")
    arguments: list[str | Path] = [
        "--beir",
        folder,
        "--model",
        "overlap",
        "--measure",
        "AP",
        "--measure",
        "P@1",
        "--limit",
        "2",
    ]
    result = run(*arguments, "--candidates", "1", "--markdown", tmp_path / "out.md")
    assert result.exit_code == 0
    assert result.stdout == ""
    text = (tmp_path / "out.md").read_text()
    assert "|  | AP | P@1 |" in text
    assert "| overlap #2 |" in text
    assert "- the first 2 of 3 queries" in text


def test_unscored_candidates_are_reported_on_stderr(tmp_path: Path) -> None:
    """Incomplete results are reported also where only files are written, and the exit code is still 0."""
    files = write_trec(tmp_path, ["q1 Q0 dog 1 2.0 x", "q1 Q0 fox 2 1.0 x"])
    write_lines(files["texts"], [{"id": "dog", "text": " "}, {"id": "fox", "text": "a red fox"}])
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    result = run(*options, "--markdown", tmp_path / "out.md")
    assert result.exit_code == 0
    assert result.stderr == "secondpass: overlap: 1 candidates without a score (invalid: 1)\n"


def test_trec_files_are_evaluated(tmp_path: Path) -> None:
    """A run with judgements, questions and texts is a collection."""
    files = write_trec(tmp_path, ["q1 Q0 dog 1 2.0 x", "q1 Q0 fox 2 1.0 x", "q2 Q0 whale 1 1.0 x"])
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    result = run(*options, "--depths", "", "--budgets", "")
    assert result.exit_code == 0
    assert "# bm25: without" in result.stdout
    assert "## Depth" not in result.stdout


def test_squad_is_evaluated(tmp_path: Path) -> None:
    """A SQuAD file carries its answers."""
    question = {"id": "q", "question": "what is red?", "answers": [{"text": "fox"}]}
    squad = {"data": [{"title": "A", "paragraphs": [{"context": "a red fox", "qas": [question]}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    result = run("--squad", tmp_path / "squad.json")
    assert result.exit_code == 0
    assert "## Answer in context at N tokens: overlap" in result.stdout


def test_texts_that_no_encoding_takes_lose_no_result(tmp_path: Path) -> None:
    """A lone surrogate, and a terminal that knows neither it nor the arrows, cost a character each, not the results."""
    files = write_trec(tmp_path, ["q1 Q0 dog 1 2.0 x", "q1 Q0 fox 2 1.0 x"])
    write_lines(files["texts"], [{"id": "dog", "text": "a stone"}, {"id": "fox", "text": "red fox \ud800"}])
    source = [part for name, path in files.items() for part in (f"--{name}", path)]
    command = [sys.executable, "-m", "secondpass", "evaluate", "--model", "overlap", *QUICK, *map(str, source)]
    done = subprocess.run(
        command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"}, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"red fox ?" in done.stdout
    assert run(*source, "--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md").exit_code == 0
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["systems"][0]["won"]
    assert "red fox ?" in (tmp_path / "out.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give exactly one collection"),
        (["--beir", "a", "--squad", "b"], "give exactly one collection"),
        (["--run", "a"], "a run needs its judgements"),
        (["--run", "a", "--qrels", "b"], "a run needs its judgements, its questions and its texts"),
        (["--beir", "nowhere"], "must be a folder with corpus.jsonl"),
        (["--beir", "nowhere", "--depths", "ten"], "--depths must be whole numbers"),
        (["--beir", "nowhere", "--budgets", "5,1"], "budgets must be whole numbers from 1"),
        (["--beir", "nowhere", "--json", "no/such/out.json"], "--json must name a file in a folder that is there"),
        (["--beir", "animals", "--measure", "nDGC@10"], "a measure must be one of ir_measures'"),
        (["--beir", "animals", "--model", ".", "--engine", "tensor"], "counts words, and has no other settings"),
        (["--beir", "animals", "--limit", "0"], "at least 1 query"),
        (["--beir", "animals", "--relevant-from", "0"], "relevant_from must be 1 or more"),
        (["--beir", "animals", "--candidates", "0"], "depth must be 1 or more"),
    ],
)
def test_what_cannot_run_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """Mistakes are said in one line on stderr, and nothing is printed."""
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "animals")
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert said in result.stderr

"""The command line: what goes in and out, and which exit code says what."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass import __main__ as entry
from secondpass import __version__
from secondpass.cli import app

GOOD = '{"query": "red fox", "candidates": ["a blue whale", {"text": "a red fox", "id": 7, "score": 0.5, "rank": 2}]}'


def rerank(arguments: Sequence[str], lines: str | bytes = "") -> Any:
    return CliRunner().invoke(app, ["rerank", "--model", "overlap", *arguments], input=lines)


def outputs(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_version_is_printed() -> None:
    """``--version`` prints the package's version."""
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"secondpass {__version__}\n"


def test_lines_are_reranked_from_stdin_to_stdout() -> None:
    """Each line in gives one ranking out, and blank lines give none."""
    result = rerank(["--top-k", "1"], f"{GOOD}\n\n{GOOD}")
    assert result.exit_code == 0
    assert result.stderr == ""
    first, second = outputs(result)
    assert [item["id"] for item in first["kept"]] == ["7"]
    assert first["kept"] == second["kept"]
    assert first["dropped"][0]["reason"] == "over top-k"


def test_file_to_file(tmp_path: Path) -> None:
    """INPUT and --output name files, and stdout stays empty."""
    (tmp_path / "in").write_text(GOOD)
    result = rerank([str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert json.loads((tmp_path / "out").read_text())["kept"][0]["text"] == "a red fox"


def test_budget_policy_and_probability_reach_the_selection() -> None:
    """The options are the selection's own, and the report says which budget was kept to."""
    options = ["--max-tokens", "3", "--policy", "prefix", "--min-probability", "0.4"]
    (ranking,) = outputs(rerank(options, GOOD))
    facts = ranking["stages"][-1]["facts"]
    assert (facts["max_tokens"], facts["policy"], ranking["tokens"]) == (3, "prefix", 3)
    assert ranking["dropped"][0]["reason"] == "below threshold"


def test_deadline_marks_the_ranking_degraded() -> None:
    """A deadline that is over leaves the first stage's order, marked, and is no failure."""
    result = rerank(["--deadline-ms", "0"], GOOD)
    assert result.exit_code == 0
    assert outputs(result)[0]["degraded"].startswith("deadline")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", "must be JSON"),
        (b"\xff\xfe", "must be JSON in UTF-8"),
        ("[" * 100_000, "must be JSON"),
        ("[1]", 'string "query"'),
        ('{"query": 3, "candidates": []}', 'string "query"'),
        ('{"query": "q"}', '"candidates" must be a list'),
        ('{"query": "q", "candidates": "text"}', '"candidates" must be a list'),
        ('{"query": "q", "candidates": [3]}', "candidate 0"),
        ('{"query": "q", "candidates": [{"id": "a"}]}', "candidate 0"),
        ('{"query": "q", "candidates": [{"text": null}]}', "'text' of candidate 0 must be str"),
        ('{"query": "q", "candidates": ["a", {"text": "b", "rank": "1"}]}', "'rank' of candidate 1 must be int"),
        ('{"query": "q", "candidates": [{"text": "a", "rank": 0}]}', "whole number from 1"),
        ('{"query": "q", "candidates": [{"text": "a", "score": true}]}', "'score' of candidate 0"),
        ('{"query": "q", "candidates": [{"text": "a", "score": 1%s}]}' % ("0" * 400), "must be a number"),
        ('{"query": "q", "candidates": [{"text": "a", "signals": [1]}]}', "'signals' of candidate 0"),
        ('{"query": "q", "candidates": [{"text": "a", "signals": {"bm25": "x"}}]}', "signal 'bm25' of candidate 0"),
        ('{"query": "q", "candidates": [{"text": "a", "sorce": "x"}]}', "'sorce'"),
    ],
)
def test_bad_line_says_why_and_never_loses_the_others(line: str | bytes, said: str) -> None:
    """A line that can't be read comes out as an error with its number; its neighbours are reranked; exit code 1."""
    line = line.encode() if isinstance(line, str) else line
    result = rerank([], b"\n".join([GOOD.encode(), line, GOOD.encode()]))
    before, bad, after = outputs(result)
    assert result.exit_code == 1
    assert "1 lines could not be reranked" in result.stderr
    assert before["kept"]
    assert after["kept"]
    assert bad["line"] == 2
    assert said in bad["error"]


def test_text_comes_out_as_it_went_in() -> None:
    """Other scripts stay readable, and a lone surrogate stays the escape that it came as."""
    result = rerank([], '{"query": "caf\\u00e9", "candidates": ["caf\\u00e9 \\ud800"]}')
    assert '"café \\ud800"' in result.stdout
    assert outputs(result)[0]["kept"][0]["text"] == "café \ud800"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "no/such/model"], "model must be a folder or a hub id"),
        (["--model", "."], "model.onnx"),
        (["--model", ".", "--engine", "tensor"], "engine must be auto"),
        (["--model", "overlap", "--top-k", "0"], "top_k must be a whole number from 1"),
        (["--model", "overlap", "--max-tokens", "9", "--policy", "best"], "policy must be one of"),
        (["--model", "overlap", "--policy", "fill"], "--max-tokens"),
        (["--model", "overlap", "--deadline-ms", "-1"], "deadline_ms must be 0 or more"),
        (["--model", "overlap", "missing.jsonl"], "INPUT must be a file"),
        (["--model", "overlap", "--output", "no/such/folder/out"], "No such file"),
    ],
)
def test_configuration_error_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """What can't work at all is said in one line on stderr, before anything is written."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["rerank", *arguments], input=GOOD)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_output_never_overwrites_the_input(tmp_path: Path) -> None:
    """Naming one file as both is refused, and the file stays."""
    file = tmp_path / "lines"
    file.write_text(GOOD)
    assert rerank([str(file), "--output", str(file)]).exit_code == 2
    assert file.read_text() == GOOD


def test_reader_that_leaves_early_is_no_failure_to_talk_about(tmp_path: Path) -> None:
    """A broken pipe ends the command without a word on stderr; the first answer comes before the input ends."""
    file = tmp_path / "lines"
    file.write_text(f"{GOOD}\n" * 5000)
    command = [sys.executable, "-m", "secondpass", "rerank", "--model", "overlap", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["kept"]
        process.stdout.close()
        assert process.stderr.read() == b""


def test_real_model_reranks(reranker_folder: Path) -> None:
    """A model in a folder puts the answer first."""
    line = json.dumps({"query": "how long does a flea live?", "candidates": ["Cats purr.", "Fleas live 100 days."]})
    result = CliRunner().invoke(app, ["rerank", "--model", str(reranker_folder), "--engine", "onnx"], input=line)
    assert result.exit_code == 0
    assert outputs(result)[0]["kept"][0]["text"] == "Fleas live 100 days."


def test_device_that_is_not_there_is_a_configuration_error(reranker_folder: Path) -> None:
    """A device that this machine can't have gives exit code 2 and a line that names it."""
    arguments = ["rerank", "--model", str(reranker_folder), "--engine", "onnx", "--device", "cuda:99"]
    result = CliRunner().invoke(app, arguments, input=GOOD)
    assert result.exit_code == 2
    assert "cuda:99" in result.stderr


def test_demo_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's errors end in one line and exit code 2 too."""
    result = CliRunner().invoke(app, ["demo", " "])
    assert result.exit_code == 2
    assert result.stderr.startswith("secondpass: the question must hold words")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_command_without_its_extra_prints_the_install_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    """Where typer or rich is missing, the command says what to install and exits with 2."""
    monkeypatch.setattr(entry, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said == f'the secondpass command needs {package}, which is not installed: pip install "secondpass[cli]"\n'


def test_entry_point_imports_neither_typer_nor_rich() -> None:
    """Importing the entry point needs nothing but secondpass."""
    code = "import sys, secondpass.__main__; sys.exit(not {'typer', 'rich', 'packaging'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

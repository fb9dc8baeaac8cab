"""``secondpass rerank``: input, output, options and exit codes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass.cli import app
from secondpass.models import bundled_models

GOOD = '{"query": "red fox", "candidates": ["a blue whale", {"text": "a red fox", "id": 7, "score": 0.5, "rank": 2}]}'


def rerank(arguments: Sequence[str], lines: str | bytes = "") -> Any:
    return CliRunner().invoke(app, ["rerank", "--model", "overlap", *arguments], input=lines)


def outputs(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line)["secondpass"] for line in result.stdout.splitlines()]


def test_lines_are_reranked_from_stdin_to_stdout() -> None:
    """Each line of the input gives one ranking, and blank lines give none."""
    result = rerank(["--top-n", "1"], f"{GOOD}\n\n{GOOD}")
    assert result.exit_code == 0
    assert result.stderr == ""
    first, second = outputs(result)
    assert [item["id"] for item in first["kept"]] == ["7"]
    assert first["kept"] == second["kept"]
    assert first["dropped"][0]["reason"] == "over top-n"


def test_file_to_file(tmp_path: Path) -> None:
    """INPUT and --output name files, and stdout stays empty."""
    (tmp_path / "in").write_text(GOOD)
    result = rerank([str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert json.loads((tmp_path / "out").read_text())["secondpass"]["kept"][0]["text"] == "a red fox"


def test_budget_policy_and_probability_reach_the_selection() -> None:
    """The options set the selection, and the stage's facts have the budget."""
    options = ["--max-tokens", "3", "--policy", "prefix", "--min-probability", "0.4"]
    (ranking,) = outputs(rerank(options, GOOD))
    facts = ranking["stages"][-1]["facts"]
    assert (facts["max_tokens"], facts["policy"], ranking["tokens"]) == (3, "prefix", 3)
    assert ranking["dropped"][0]["reason"] == "below threshold"


def test_deadline_marks_the_ranking_degraded() -> None:
    """A deadline that has passed gives the first stage's order, marked and counted, with exit code 1."""
    result = rerank(["--deadline-ms", "0"], f"{GOOD}\n{GOOD}")
    assert result.exit_code == 1
    assert "2 lines were degraded" in result.stderr
    assert outputs(result)[0]["degraded"].startswith("deadline")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "must be JSON"),
        (b"\xff\xfe", "must be JSON in UTF-8"),
        ("[" * 100_000, "must be JSON"),
        ("[1]", "the line must be a JSON object"),
        ('{"query": 3, "candidates": []}', '"query" must be a string'),
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
        ('{"query": "q", "candidates": ["a"], "note": NaN}', "numbers must be finite, got NaN"),
        ('{"query": "q", "candidates": ["a"], "note": [-Infinity]}', "numbers must be finite, got -Infinity"),
        ('{"query": "q", "candidates": ["a"], "note": {"x": 1e999}}', "numbers must be finite, got 1e999"),
        ('{"query": "q", "candidates": ["a"], "secondpass": 1}', "'secondpass' is the output's"),
    ],
)
def test_an_invalid_line_does_not_stop_the_others(line: str | bytes, message: str) -> None:
    """An invalid line gives an error with its number, the others are reranked, and the exit code is 1."""
    line = line.encode() if isinstance(line, str) else line
    result = rerank([], b"\n".join([GOOD.encode(), line, GOOD.encode()]))
    before, bad, after = outputs(result)
    assert result.exit_code == 1
    assert "1 lines could not be reranked" in result.stderr
    assert before["kept"]
    assert after["kept"]
    assert bad["line"] == 2
    assert message in bad["error"]


def test_other_keys_of_a_line_are_in_the_output() -> None:
    """A line's own keys come out as they were, whatever their names, also where it can't be reranked."""
    own = {"qid": "q7", "metadata": {"lang": "en"}, "kept": "theirs", "tokens": [1], "error": None, "line": 5}
    lines = [json.dumps(own | {"query": "fox", "candidates": candidates}) for candidates in (["a fox"], 3)]
    result = rerank([], "\n".join(lines))
    ranking, error = (json.loads(line) for line in result.stdout.splitlines())
    assert ranking.pop("secondpass")["kept"][0]["text"] == "a fox"
    assert error.pop("secondpass")["line"] == 2
    assert ranking == error == own


@pytest.mark.parametrize(
    ("order", "expected"), [("relevance", ["2", "0", "1"]), ("original", ["0", "1", "2"]), ("ends", ["2", "1", "0"])]
)
def test_order_sets_the_reading_order(order: str, expected: list[str]) -> None:
    """``--order`` puts the kept by relevance, in the first stage's order, or the best at both ends."""
    texts = ["a red hen", "a blue whale", "a red fox"]
    line = json.dumps({"query": "red fox", "candidates": [{"text": t, "id": i} for i, t in enumerate(texts)]})
    (ranking,) = outputs(rerank(["--order", order], line))
    assert [item["id"] for item in ranking["kept"]] == expected


@pytest.mark.parametrize(("duplicates", "kept"), [("exact", 1), ("keep", 2)])
def test_duplicates_are_dropped_or_kept(duplicates: str, kept: int) -> None:
    """``--duplicates`` decides whether a text equal to a kept one is dropped."""
    line = '{"query": "fox", "candidates": ["a red fox", "a red fox"]}'
    (ranking,) = outputs(rerank(["--duplicates", duplicates], line))
    assert len(ranking["kept"]) == kept


def test_counter_counts_the_budget_with_a_tokenizer() -> None:
    """``--counter`` takes the path of a tokenizer.json; ``estimate`` is what counts without it."""
    path = bundled_models()["small"] / "tokenizer.json"
    (exact,) = outputs(rerank(["--max-tokens", "50", "--counter", str(path)], GOOD))
    (estimate,) = outputs(rerank(["--max-tokens", "50", "--counter", "estimate"], GOOD))
    assert exact["stages"][-1]["facts"] | {"counter": "tokenizers", "exact": True} == exact["stages"][-1]["facts"]
    assert exact["tokens"] == sum(item["tokens"] for item in exact["kept"]) == 6
    assert estimate["stages"][-1]["facts"]["counter"] == "estimate"


def test_bundled_model_is_the_default() -> None:
    """Without ``--model`` the bundled small model reranks."""
    line = json.dumps({"query": "how long does a flea live?", "candidates": ["Cats purr.", "Fleas live 100 days."]})
    result = CliRunner().invoke(app, ["rerank"], input=line)
    (ranking,) = outputs(result)
    assert ranking["scorer"] == "small"
    assert ranking["kept"][0]["text"] == "Fleas live 100 days."


def test_text_is_written_unchanged() -> None:
    """Text that isn't ASCII is written as it is, and a lone surrogate as an escape."""
    result = rerank([], '{"query": "caf\\u00e9", "candidates": ["caf\\u00e9 \\ud800"]}')
    assert '"café \\ud800"' in result.stdout
    assert outputs(result)[0]["kept"][0]["text"] == "café \ud800"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no/such/model"], "model must be a bundled model"),
        (["--model", "."], "model.onnx"),
        (["--model", ".", "--engine", "tensor"], "engine must be one of auto"),
        (["--model", "overlap", "--top-n", "0"], "top_n must be a whole number from 1"),
        (["--model", "overlap", "--max-tokens", "9", "--policy", "best"], "policy must be one of"),
        (["--model", "overlap", "--policy", "fill"], "--max-tokens"),
        (["--model", "overlap", "--counter", "estimate"], "--max-tokens"),
        (["--model", "overlap", "--max-tokens", "9", "--counter", "no.json"], "--counter that or 'estimate'"),
        (["--model", "overlap", "--order", "random"], "order must be one of"),
        (["--model", "overlap", "--duplicates", "drop"], "duplicates must be one of"),
        (["--model", "overlap", "--deadline-ms", "-1"], "deadline_ms must be 0 or more"),
        (["--model", "overlap", "missing.jsonl"], "INPUT must be a file"),
        (["--model", "overlap", "--output", "no/such/folder/out"], "No such file"),
    ],
)
def test_configuration_error_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """An invalid option is an error of one line on stderr, before anything is written."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["rerank", *arguments], input=GOOD)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_output_never_overwrites_the_input(tmp_path: Path) -> None:
    """Naming one file as both is refused, and the file stays."""
    file = tmp_path / "lines"
    file.write_text(GOOD)
    assert rerank([str(file), "--output", str(file)]).exit_code == 2
    assert file.read_text() == GOOD


def test_the_report_is_one_page_of_all_queries(tmp_path: Path) -> None:
    """``--report`` writes each query's report into one HTML file, with every text escaped; bad lines have none."""
    page = tmp_path / "report.html"
    lines = [GOOD, "not json", '{"query": "whale", "candidates": ["<script>x</script> whale", "a red fox"]}']
    result = rerank(["--report", str(page), "--top-n", "1"], "\n".join(lines))
    assert (result.exit_code, len(outputs(result))) == (1, 3)
    html = page.read_text("utf-8")
    assert html.count('<div class="secondpass">') == 2
    assert html.count("<html") == 1
    assert all(part in html for part in ("red fox", "over top-n", "&lt;script&gt;"))
    assert "<script>" not in html


def test_the_report_has_a_bounded_number_of_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page holds the first queries; every line is reranked all the same, those that keep nothing too."""
    monkeypatch.setattr("secondpass.cli.rerank._REPORTED", 2)
    page = tmp_path / "report.html"
    assert len(outputs(rerank(["--report", str(page)], '{"query": "fox", "candidates": []}\n' * 3))) == 3
    assert page.read_text("utf-8").count('<div class="secondpass">') == 2


@pytest.mark.parametrize(
    ("report", "line", "message"),
    [
        ("no/r.html", GOOD, "--report must name a file in a folder that is there"),
        (".", GOOD, "--report must name a file in a folder that is there"),
        ("in.jsonl", GOOD, "--report must be another file than INPUT"),
        ("r.html", "", "must have a line that can be reranked, for --report"),
        ("/proc/r.html", GOOD, "/proc/r.html"),
    ],
)
def test_a_report_that_cannot_be_written(tmp_path: Path, report: str, line: str, message: str) -> None:
    """A wrong file, and an input without a query, are one line and exit code 2."""
    (tmp_path / "in.jsonl").write_text(line)
    result = rerank([str(tmp_path / "in.jsonl"), "--report", str(tmp_path / report)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_report_is_another_file_than_the_output(tmp_path: Path) -> None:
    """Naming one file as both is refused, and nothing is written."""
    file = str(tmp_path / "out")
    assert rerank(["--output", file, "--report", file], GOOD).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    """A closed pipe ends the command without output on stderr; the first ranking is written before the input ends."""
    file = tmp_path / "lines"
    file.write_text(f"{GOOD}\n" * 5000)
    command = [sys.executable, "-m", "secondpass", "rerank", "--model", "overlap", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["secondpass"]["kept"]
        process.stdout.close()
        assert process.stderr.read() == b""


def test_real_model_reranks(reranker_folder: Path) -> None:
    """A model in a folder puts the answer first."""
    line = json.dumps({"query": "how long does a flea live?", "candidates": ["Cats purr.", "Fleas live 100 days."]})
    result = CliRunner().invoke(app, ["rerank", "--model", str(reranker_folder), "--engine", "onnx"], input=line)
    assert result.exit_code == 0
    assert outputs(result)[0]["kept"][0]["text"] == "Fleas live 100 days."


def test_missing_device_is_a_configuration_error(reranker_folder: Path) -> None:
    """A device that this machine doesn't have gives exit code 2 and a line that names it."""
    arguments = ["rerank", "--model", str(reranker_folder), "--engine", "onnx", "--device", "cuda:99"]
    result = CliRunner().invoke(app, arguments, input=GOOD)
    assert result.exit_code == 2
    assert "cuda:99" in result.stderr


def test_a_configuration_file_states_the_settings_and_options_replace_them(tmp_path: Path) -> None:
    """``--config`` reads the file of ``secondpass.config.load``; an option changes one setting of it."""
    config = tmp_path / "secondpass.toml"
    config.write_text('[model]\nname = "overlap"\n[selection]\ntop_n = 1\n[budget]\nmax_tokens = 50\n')
    run = ["rerank", "--config", str(config)]
    (stated,) = outputs(CliRunner().invoke(app, run, input=GOOD))
    assert (stated["scorer"], len(stated["kept"]), stated["stages"][-1]["facts"]["max_tokens"]) == ("overlap", 1, 50)
    options = ["--top-n", "2", "--max-tokens", "60", "--policy", "prefix"]
    (changed,) = outputs(CliRunner().invoke(app, [*run, *options], input=GOOD))
    assert len(changed["kept"]) == 2
    assert {"max_tokens": 60, "policy": "prefix"}.items() <= changed["stages"][-1]["facts"].items()


def test_a_wrong_key_in_the_configuration_is_one_line(tmp_path: Path) -> None:
    """The error names the file, the key, and what was probably meant; the exit code is 2."""
    config = tmp_path / "secondpass.toml"
    config.write_text("[selection]\ntop_k = 1\n")
    result = CliRunner().invoke(app, ["rerank", "--config", str(config)], input=GOOD)
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"secondpass: {config}: [selection] has the unknown key 'top_k': did you mean top_n?"
    )
    assert result.stderr.count("\n") == 1

"""``secondpass explain`` and ``secondpass models``."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass.cli import app
from secondpass.cli import models as command
from secondpass.models import CASCADES, bundled_models, supported

LINES = """{"query": "whale", "candidates": ["a whale"]}
{"query": "red fox", "candidates": ["<script>x</script> fox", "whale"]}
"""


def explain(*arguments: object, lines: str = LINES) -> Any:
    return CliRunner().invoke(app, ["explain", "--model", "overlap", *map(str, arguments)], input=lines)


def test_the_report_is_one_html_file(tmp_path: Path) -> None:
    """The chosen line is reranked, and its report written, with every text escaped."""
    report = tmp_path / "report.html"
    result = explain("--output", report, "--line", 2, "--top-k", 1)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"kept 1, dropped 1: the report is in {report}\n"
    html = report.read_text("utf-8")
    assert "red fox" in html
    assert "over top-k" in html
    assert "<script>" not in html


def test_json_and_a_file_as_input(tmp_path: Path) -> None:
    """``--json`` prints the counts, and INPUT may be a file."""
    (tmp_path / "in.jsonl").write_text(LINES)
    result = explain(tmp_path / "in.jsonl", "--output", tmp_path / "r.html", "--json")
    assert json.loads(result.stdout) == {
        "report": str(tmp_path / "r.html"), "kept": 1, "dropped": 0, "degraded": None
    }  # fmt: skip


def test_a_degraded_call_is_said_on_stderr(tmp_path: Path) -> None:
    """The report of a degraded call is written, and stderr says why it is degraded."""
    config = tmp_path / "c.toml"
    config.write_text('deadline_ms = 0\n[model]\nname = "overlap"\n')
    result = CliRunner().invoke(
        app, ["explain", "--config", str(config), "--output", str(tmp_path / "r.html")], input=LINES
    )
    assert result.exit_code == 0
    assert "the call is degraded, deadline" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--line", 3], "must have a query in line 3"),
        (["--line", 0], "--line must be 1 or more"),
        (["{}/no.jsonl"], "INPUT must be a file"),
        (["--output", "{}/no/r.html"], "in a folder that is there"),
        (["--output", "{}"], "--output must name a file"),
        (["--output", "/proc/r.html"], "/proc/r.html"),
        (["--top-k", 0], "top_k"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[object], message: str) -> None:
    """What can't be explained ends in one line and exit code 2, and no report is written."""
    given = [str(argument).format(tmp_path) for argument in arguments]
    result = explain(*(["--output", tmp_path / "r.html"] if "--output" not in given else []), *given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a hub cache with one model."""
    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").write_bytes(b"x" * 2_000_000)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("hub")
def test_models_lists_what_is_here() -> None:
    """Bundled models with their files, their cascades, and the hub library's cache."""
    result = CliRunner().invoke(app, ["models", "--no-measure", "--json"])
    listed = {model["name"]: model for model in json.loads(result.stdout)}
    assert listed.keys() == {*bundled_models(), *CASCADES, "owner/name"}
    nano = listed["nano"]
    assert (nano["kind"], nano["cost"], nano["folder"]) == ("bundled", None, str(bundled_models()["nano"]))
    assert nano["megabytes"] == pytest.approx(sum(nano["files"].values()) / 1e6)
    assert nano["files"]["model.onnx"] > 10_000_000
    assert (listed["owner/name"]["kind"], listed["owner/name"]["megabytes"]) == ("hub cache", 2.0)
    assert (listed["fast"]["kind"], listed["fast"]["files"]) == ("cascade", {})


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("width", [40, 100])
def test_models_measures_what_is_bundled(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Each bundled model is opened and timed; the table says which engine and form runs here, in any width."""
    monkeypatch.setattr(command, "_CANDIDATES", 3)
    monkeypatch.setenv("COLUMNS", str(width))
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    if width == 100:
        assert "CrossEncoder('nano', onnx, cpu, int8)" in result.stdout


@pytest.mark.parametrize("width", [40, 140])
def test_models_lists_families(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Every model family is there with its status, as a table of any width and as JSON; unsupported ones say why."""
    monkeypatch.setenv("COLUMNS", str(width))
    table = CliRunner().invoke(app, ["models", "--families"]).stdout
    assert max(map(len, table.splitlines())) <= width
    if width == 140:
        assert "bge-reranker-v2-m3" in table
    listed = json.loads(CliRunner().invoke(app, ["models", "--families", "--json"]).stdout)
    assert [family["name"] for family in listed] == [family.name for family in supported()]
    assert all(family["note"] for family in listed if family["status"] == "unsupported")


def test_a_model_that_cannot_be_opened_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken model doesn't hide the others."""
    missing = command.Model("no-such-model", "bundled", 1.0, "", {})
    assert command.measured(missing).here.startswith("can't be opened: model must be")
    assert command.measured(missing).cost is None

"""``secondpass doctor``: checks, advice and exit codes."""

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass.cli import app, doctor
from secondpass.cli.findings import Finding, Status
from secondpass.errors import ModelError
from secondpass.models import bundled_models


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor find no model of this machine's user."""
    monkeypatch.setenv("SECONDPASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("empty_caches")
def test_doctor_reports_every_area_as_json() -> None:
    """``doctor --json`` is a list of findings over all areas, and exit code 0 says that the base install works."""
    result = CliRunner().invoke(app, ["doctor", "--json"])
    findings = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {finding["area"] for finding in findings} == {"machine", "base", "extras", "engines", "models"}
    assert next(finding for finding in findings if finding["name"] == "onnx")["value"].startswith("cpu")


def test_doctor_names_the_install_line_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra without its packages is optional, with the command that installs it."""
    original = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "chromadb" else original(name))
    found = {finding.name: finding for finding in doctor._extras()}
    assert found["demo"].status is Status.OPTIONAL
    assert "chromadb>=1.0" in found["demo"].value
    assert found["demo"].advice == 'pip install "secondpass[demo]"'
    assert found["cli"].status is Status.OK


@pytest.mark.parametrize(("version", "status"), [("0.1", Status.BROKEN), ("99", Status.OK)])
def test_doctor_checks_versions(monkeypatch: pytest.MonkeyPatch, version: str, status: Status) -> None:
    """A package of the base install that is too old breaks it."""
    original = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: version if name == "numpy" else original(name))
    assert next(finding for finding in doctor._base() if finding.name == "numpy").status is status


@pytest.mark.usefixtures("empty_caches")
def test_broken_base_install_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base package that can't be imported is named with what to do, and fails the command."""
    original = importlib.import_module

    def without(name: str) -> Any:
        if name == "onnxruntime":
            raise ImportError("libonnxruntime.so: cannot open shared object file")
        return original(name)

    monkeypatch.setattr(importlib, "import_module", without)
    monkeypatch.setattr(doctor, "_engines", lambda: iter([Finding("engines", "onnx", "cpu")]))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "the base install is broken" in result.stdout
    assert "--force-reinstall" in result.stdout
    assert "cannot open shared object file" in result.stdout


def test_driver_without_an_engine_that_sees_it_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """An NVIDIA driver whose GPU no engine can use is a problem, with advice on what to install."""
    monkeypatch.setattr(doctor, "ENGINES", {})
    monkeypatch.setattr(shutil, "which", lambda name: "nvidia-smi")
    (finding,) = doctor._engines()
    assert finding.status is Status.PROBLEM
    assert "CUDA build" in finding.advice


def test_bundled_models_are_named_and_open() -> None:
    """Each bundled model and their cascade is loaded and run once; the finding has the seconds and the form."""
    findings = {finding.name: finding for finding in doctor._bundled_models()}
    assert set(findings) == {*bundled_models(), "fast"} == {"small", "nano", "fast"}
    assert {finding.status for finding in findings.values()} == {Status.OK}
    value = r"bundled, loads in \d+\.\d\d s, first pass \d+\.\d\d s: CrossEncoder\('nano', onnx, cpu, int8\)"
    assert re.fullmatch(value, findings["nano"].value)


def test_bundled_model_that_does_not_open_breaks_the_base_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged bundled model is named with the error and the line that installs it again."""

    def fail(*_: object, **__: object) -> None:
        raise ModelError("model.onnx is cut off")

    monkeypatch.setattr(doctor, "load_scorer", fail)
    finding = next(doctor._bundled_models())
    assert (finding.name, finding.status) == ("nano", Status.BROKEN)
    assert "model.onnx is cut off" in finding.value
    assert finding.advice == "pip install --force-reinstall secondpass"


@pytest.mark.usefixtures("empty_caches")
def test_table_shows_every_finding_and_the_verdict() -> None:
    """Without ``--json`` the findings are a table by area, and the last line is the verdict."""
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert [
        line for line in result.stdout.splitlines() if line in {"machine", "base", "extras", "engines", "models"}
    ] == [
        "machine",
        "base",
        "extras",
        "engines",
        "models",
    ]
    assert result.stdout.splitlines()[-1] == "the base install works"


VALID = """
[model]
name = "nano"
[selection]
top_k = 10
[cache]
path = "scores.db"
[audit]
path = "audit.db"
"""


def checked(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, *options: str) -> tuple[int, list[Any]]:
    """Return the exit code and the findings of ``doctor --config``, the other areas left out."""
    monkeypatch.setattr(doctor, "examine", tuple)
    path = folder / "secondpass.toml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["doctor", "--json", "--config", str(path), *options])
    return result.exit_code, json.loads(result.stdout)


def test_a_valid_configuration_opens_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The finding has the scorer that the file states; neither its cache nor its audit log is created."""
    code, [finding, depth] = checked(monkeypatch, tmp_path, VALID, "--fetch-k", "100")
    assert (code, finding["area"], finding["name"]) == (0, "configuration", "secondpass.toml")
    assert finding["value"] == "valid, its models open: Cached(CrossEncoder('nano', onnx, cpu, int8))"
    assert (depth["status"], depth["value"]) == ("ok", "at most 10 of 100 candidates are kept")
    assert [path.name for path in tmp_path.iterdir()] == ["secondpass.toml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[selection]\ntop_n = 3", "did you mean top_k?"),
        ("deadline_ms = ", "can't be read"),
        ("[budget]\nmax_tokens = -1", "max_tokens"),
        ('[model]\nname = "example/not-in-the-cache"', "can't be opened"),
        ('[audit]\npath = "audit.db"\nmax_mb = 0', "max_mb"),
    ],
)
@pytest.mark.usefixtures("empty_caches")
def test_a_configuration_that_does_not_work_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, message: str
) -> None:
    """A wrong key, a wrong value, and a model that isn't on this machine are one finding each, with advice."""
    code, [finding] = checked(monkeypatch, tmp_path, text)
    assert (code, finding["status"]) == (1, "broken")
    assert message in finding["value"]
    assert finding["advice"]


@pytest.mark.parametrize(
    ("options", "status", "value"),
    [
        (["--fetch-k", "11"], "ok", "at most 10 of 11 candidates are kept"),
        (["--fetch-k", "10"], "problem", "keeps all of 10 candidates, and the second pass can only reorder them"),
        (["--fetch-k", "20", "--top-k", "30"], "problem", "top_k = 30 keeps all of 20 candidates"),
        (["--fetch-k", "10", "--top-k", "3"], "ok", "at most 3 of 10 candidates are kept"),
    ],
)
def test_too_few_candidates_make_the_pass_pointless(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], status: str, value: str
) -> None:
    """``--fetch-k`` up to top-k, of the file or of ``--top-k``, is a problem with advice, and no failure."""
    code, [_, finding] = checked(monkeypatch, tmp_path, VALID, *options)
    assert (code, finding["status"]) == (0, status)
    assert value in finding["value"]
    assert ("such as" in finding["advice"]) == (status == "problem")


def test_what_else_limits_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a budget or a threshold still drops candidates, the finding says so; without any limit it is a problem."""
    limited = "[selection]\nmin_probability = 0.1\n[budget]\nmax_tokens = 100"
    _, [_, finding] = checked(monkeypatch, tmp_path, limited, "--fetch-k", "10")
    expected = "no top_k for 10 candidates; only budget, min_probability can drop any"
    assert (finding["status"], finding["value"]) == ("ok", expected)
    _, [_, finding] = checked(monkeypatch, tmp_path, "", "--fetch-k", "10")
    assert finding["status"] == "problem"


def test_fetch_k_needs_something_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--fetch-k`` alone can't run; the verdict names a configuration that doesn't work."""
    assert CliRunner().invoke(app, ["doctor", "--fetch-k", "5"]).exit_code == 2
    monkeypatch.setattr(doctor, "examine", tuple)
    result = CliRunner().invoke(app, ["doctor", "--config", "not-there.toml"])
    assert result.stdout.splitlines()[-1] == "the base install works; the configuration doesn't work"

"""``secondpass doctor``: checks, advice and exit codes."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass.cli import app, doctor
from secondpass.cli.doctor import Finding
from secondpass.errors import ModelError, ScoringError
from secondpass.models import CASCADES, bundled_models
from secondpass.reranker import Reranker
from secondpass.scoring.scorer import OverlapScorer


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
    areas = {"machine", "base", "extras", "engines", "models", "configuration"}
    assert {finding["area"] for finding in findings} == areas
    assert next(finding for finding in findings if finding["name"] == "onnx")["value"].startswith("cpu")


def test_doctor_names_the_install_line_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra without its packages is optional, with the command that installs it."""
    original = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "chromadb" else original(name))
    found = {finding.name: finding for finding in doctor._extras()}
    assert found["cli"].status == "optional"
    assert "chromadb>=1.0" in found["cli"].value
    assert found["cli"].advice == 'pip install "secondpass[cli]"'
    assert found["remote"].status == "ok"


@pytest.mark.parametrize(("version", "status"), [("0.1", "broken"), ("99", "ok")])
def test_doctor_checks_versions(monkeypatch: pytest.MonkeyPatch, version: str, status: str) -> None:
    """A package of the base install that is too old breaks it."""
    original = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: version if name == "numpy" else original(name))
    assert next(finding for finding in doctor._base() if finding.name == "numpy").status == status


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
    assert result.stdout.splitlines()[-1] == "broken: onnxruntime"
    assert "--force-reinstall" in result.stdout
    assert "cannot open shared object file" in result.stdout


def test_driver_without_an_engine_that_sees_it_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """An NVIDIA driver whose GPU no engine can use is a problem, with advice on what to install."""
    monkeypatch.setattr(doctor, "ENGINES", {})
    monkeypatch.setattr(shutil, "which", lambda name: "nvidia-smi")
    (finding,) = doctor._engines()
    assert finding.status == "problem"
    assert "CUDA build" in finding.advice


def test_bundled_models_are_named_and_open() -> None:
    """Each bundled model is loaded and run once, and the finding has its form; a cascade's has what it is made of."""
    findings = {finding.name: finding for finding in doctor._bundled()}
    assert findings.keys() == {*bundled_models(), *CASCADES}
    assert {finding.status for finding in findings.values()} == {"ok"}
    assert findings["nano"].value == "bundled: CrossEncoder('nano', onnx, cpu, int8)"
    assert findings["fast"].value == "bundled: nano reads all, small the best 30"


@pytest.mark.usefixtures("empty_caches")
def test_models_of_the_hub_cache_are_listed(tmp_path: Path) -> None:
    """Models of the hub library's cache are findings with their size; without a cache there is none."""
    assert list(doctor._hub_cache()) == []
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").write_bytes(b"x" * 2_000_000)
    assert list(doctor._hub_cache()) == [Finding("models", "owner/name", "in the hub cache, 2 MB")]


def test_bundled_model_that_does_not_open_breaks_the_base_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged bundled model is named with the error and the line that installs it again."""

    def fail(*_: object, **__: object) -> None:
        raise ModelError("model.onnx is cut off")

    monkeypatch.setattr(doctor, "load_scorer", fail)
    finding = next(doctor._bundled())
    assert (finding.name, finding.status) == ("nano", "broken")
    assert "model.onnx is cut off" in finding.value
    assert finding.advice == "pip install --force-reinstall secondpass"


@pytest.mark.usefixtures("empty_caches")
def test_each_finding_is_a_line_and_the_last_line_is_the_verdict() -> None:
    """Without ``--json`` each finding is a line, and the last one says whether base install and configuration work."""
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    *findings, verdict = result.stdout.splitlines()
    areas = dict.fromkeys(line.split()[0] for line in findings)
    assert list(areas) == ["machine", "base", "extras", "engines", "models", "configuration"]
    assert verdict == "the base install and the configuration work"


def test_doctor_times_the_default_model_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file it opens the default model, and says how many candidates fit into 300 ms."""
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock) / 5)
    monkeypatch.setattr(doctor, "open_reranker", lambda _: Reranker(OverlapScorer()))
    opened, speed = doctor.configuration(None, None)
    assert (opened.name, opened.status) == ("defaults", "ok")
    assert speed.value == "about 48 candidates of 100 tokens in 300 ms"


VALID = """
[model]
name = "nano"
[selection]
top_n = 10
[cache]
path = "scores.db"
[audit]
path = "audit.db"
"""


def checked(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, *options: str) -> tuple[int, list[Any]]:
    """Return the exit code and the findings of ``doctor --config`` but the timing, the other areas left out."""
    monkeypatch.setattr(doctor, "examine", tuple)
    path = folder / "secondpass.toml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["doctor", "--json", "--config", str(path), *options])
    return result.exit_code, [finding for finding in json.loads(result.stdout) if finding["name"] != "speed"]


def test_a_valid_configuration_opens_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The finding has the scorer that the file states; neither its cache nor its audit log is created."""
    code, [finding, depth] = checked(monkeypatch, tmp_path, VALID, "--fetch-k", "100")
    assert (code, finding["area"], finding["name"]) == (0, "configuration", "secondpass.toml")
    assert finding["value"] == "works: Cached(CrossEncoder('nano', onnx, cpu, int8))"
    assert (depth["status"], depth["value"]) == ("ok", "at most 10 of 100 candidates are kept")
    assert [path.name for path in tmp_path.iterdir()] == ["secondpass.toml"]


def test_a_model_that_opens_and_cannot_score_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing is a check too: what fails there is one broken finding."""

    def fail(*_: object, **__: object) -> None:
        raise ScoringError("out of memory")

    monkeypatch.setattr(OverlapScorer, "score_pairs", fail)
    monkeypatch.setattr(doctor, "open_reranker", lambda _: Reranker(OverlapScorer()))
    (finding,) = doctor.configuration(None, 100)
    assert (finding.status, finding.value) == ("broken", "doesn't work: out of memory")


def test_a_server_is_not_asked_and_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration with a remote model opens, and no request is sent for a timing."""
    pytest.importorskip("httpx", reason="the extra remote isn't installed")
    monkeypatch.setenv("CO_API_KEY", "key")
    monkeypatch.setattr("secondpass.scorers.remote.RemoteScorer.score_pairs", lambda *_, **__: pytest.fail("a request"))
    text = '[model]\nname = "nano"\n[fallback]\nmodels = ["cohere:rerank-v3.5"]'
    code, [finding] = checked(monkeypatch, tmp_path, text)
    assert (code, finding["status"]) == (0, "ok")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[selection]\ntop_k = 3", "did you mean top_n?"),
        ("deadline_ms = ", "can't be read"),
        ("[budget]\nmax_tokens = -1", "max_tokens"),
        ('[model]\nname = "example/not-in-the-cache"', "doesn't work"),
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
        (["--fetch-k", "10"], "problem", "top_n = 10 keeps all of 10 candidates: they can only be reordered"),
    ],
)
def test_too_few_candidates_make_the_pass_pointless(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], status: str, value: str
) -> None:
    """``--fetch-k`` up to top_n is a problem with advice, and no failure."""
    code, [_, finding] = checked(monkeypatch, tmp_path, VALID, *options)
    assert (code, finding["status"]) == (0, status)
    assert value in finding["value"]
    assert ("such as" in finding["advice"]) == (status == "problem")


def test_what_else_limits_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a budget or a threshold still drops candidates, the finding says so; without any limit it is a problem."""
    limited = "[selection]\nmin_probability = 0.1\n[budget]\nmax_tokens = 100"
    _, [_, finding] = checked(monkeypatch, tmp_path, limited, "--fetch-k", "10")
    expected = "no top_n for 10 candidates; only budget, min_probability can drop any"
    assert (finding["status"], finding["value"]) == ("ok", expected)
    _, [_, finding] = checked(monkeypatch, tmp_path, "", "--fetch-k", "10")
    assert finding["status"] == "problem"


def test_the_verdict_names_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line names a configuration that doesn't work."""
    monkeypatch.setattr(doctor, "examine", tuple)
    result = CliRunner().invoke(app, ["doctor", "--config", "not-there.toml"])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "broken: not-there.toml")

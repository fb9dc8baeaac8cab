"""What an audit file answers, and ``secondpass audit``."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
pytest.importorskip("scipy", reason="the extra eval isn't installed")
from scipy.stats import ks_2samp
from typer.testing import CliRunner

from secondpass import Call, Candidate, OverlapScorer, Reranker, Selection
from secondpass.cli import app
from secondpass.observe import AuditLog, read_records
from secondpass.observe.audit_file import AuditFile
from secondpass.observe.audit_summary import drift, summary

FOXES = [Candidate("a blue whale", id="whale"), Candidate("a red fox", id="fox"), Candidate("red", id="red")]
NOW = datetime.now(UTC)


def audit(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return an audit file of four calls, one of them degraded."""
    log = AuditLog(tmp_path / "audit.db")
    reranker = Reranker(OverlapScorer(), selection=Selection(min_probability=0.4), observers=[log])
    for query in ("red fox", "a fox", "whale song"):
        reranker.rerank(query, FOXES)
    reranker.rerank("red fox", FOXES, call=Call(0))
    log.flush()
    return log.path


def record(days_ago: float, scores: Sequence[float], model: str = "m", **more: Any) -> dict[str, Any]:
    """Return a record with these scores."""
    time = (NOW - timedelta(days=days_ago)).isoformat()
    candidates = [{"id": str(place), "score": score, "rank_before": 1} for place, score in enumerate(scores)]
    return {"time": time, "model": model, "candidates": candidates, **more}


def test_why_a_document_was_not_used(file: Path) -> None:
    """``--why`` gives each call that had the document, with the reason and the ranks, and what was kept instead."""
    result = audit(file, "--why", "whale", "--json")
    calls = json.loads(result.stdout)["calls"]
    assert result.exit_code == 0
    assert [call["kept"] for call in calls] == [False, True, True, True]
    assert calls[0]["reason"] == "below threshold"
    assert (calls[0]["rank_before"], calls[0]["score"], calls[0]["lowest_kept_score"]) == (1, 0.0, 0.5)
    assert calls[-1]["degraded"] == "deadline"
    printed = " ".join(audit(file, "--why", "whale", "--query", "RED FOX").stdout.split())
    assert "a candidate in 2 calls, kept in 1" in printed
    assert "dropped, below threshold (probability 0.0000 < 0.4): first-stage rank 1, score 0.00" in printed


def test_a_document_that_never_was_a_candidate(file: Path) -> None:
    """Where the first stage never returned the document, the answer says so, and the exit code is 1."""
    result = audit(file, "--why", "unicorn")
    assert result.exit_code == 1
    assert "never a candidate" in result.stdout


def test_the_summary_counts_degraded_calls_reasons_and_documents(file: Path) -> None:
    """Without ``--why`` the answer has degraded calls, stage percentiles, reasons, and what is dropped often."""
    answer = json.loads(audit(file, "--json").stdout)
    assert (answer["calls"], answer["failed"], answer["candidates"]) == (4, 0, 12)
    assert answer["degraded"] == {"calls": 1, "causes": {"deadline": 1}}
    assert set(answer["stages_ms"]) == {"call", "score", "select"}
    assert answer["stages_ms"]["score"].keys() == {"calls", "p50", "p95", "p99"}
    assert answer["reasons"] == {"below threshold": 4}
    assert answer["dropped_often"] == [{"id": "red", "dropped": 2, "kept": 2, "reasons": {"below threshold": 2}}]


@pytest.mark.parametrize("width", [40, 100])
def test_tables_fit_any_width(file: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """The tables fit a narrow terminal, and without a terminal they are as wide as those of other commands."""
    monkeypatch.setenv("COLUMNS", str(width))
    result = audit(file)
    assert result.exit_code == 0
    assert "degraded: 1 (25.0%): 1 deadline" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= width


def test_periods(file: Path) -> None:
    """``--since`` and ``--until`` take days back, dates and times."""
    assert json.loads(audit(file, "--json", "--since", "1d").stdout)["calls"] == 4
    assert json.loads(audit(file, "--json", "--until", "1d").stdout)["calls"] == 0
    assert (
        json.loads(audit(file, "--json", "--since", "2001-01-01", "--until", "2001-01-02T00:00").stdout)["calls"] == 0
    )
    assert "no calls" in audit(file, "--until", "2001-01-01").stdout


def test_export_prints_each_record_as_a_line(file: Path) -> None:
    """``--export`` prints all records, or those of a period, as JSON Lines of ASCII that any terminal can show."""
    Reranker(OverlapScorer(), observers=[log := AuditLog(file)]).rerank("größe\n\u2028 \ud83d", ["a"])
    log.flush()
    lines = audit(file, "--export").stdout.splitlines()
    assert [json.loads(line) for line in lines] == list(read_records(file))
    assert json.loads(lines[-1])["query"] == "größe\n\u2028 \ud83d"
    assert all(line.isascii() for line in lines)
    assert audit(file, "--export", "--until", "1d").stdout == ""


def test_a_period_ends_before_its_last_moment(tmp_path: Path) -> None:
    """Records of equal times are all read once, those at the end of a period belong to the next one."""
    path = tmp_path / "audit.db"
    AuditFile(path, 1e9, 1e9).write([record(days, [], model=str(n)) for days in (3, 2, 1) for n in range(250)])
    since, until = (NOW - timedelta(days=days) for days in (3, 1))
    assert [item["model"] for item in read_records(path, since, until)] == [*map(str, range(250))] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/no.db"], "there is no file"),
        (["{}"], "there is no file"),
        (["{}/other.db"], "isn't one"),
        (["{}/other.db", "--export"], "isn't one"),
        (["{}/audit.db", "--since", "yesterday"], "--since must be as"),
        (["{}/audit.db", "--query", "q"], "--query goes with --why"),
        (["{}/audit.db", "--why", "fox", "--drift-days", "7"], "give one of them"),
        (["{}/audit.db", "--export", "--drift-days", "7"], "--export prints whole records"),
        (["{}/audit.db", "--export", "--json"], "--export prints whole records"),
        (["{}/audit.db", "--export", "--why", "fox"], "--export prints whole records"),
    ],
)
def test_what_cannot_be_answered_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Errors are one line on stderr, and the exit code is 2."""
    (tmp_path / "other.db").write_text('{"level": "info"}\n')
    AuditFile(tmp_path / "audit.db", 1e9, 1e9).write([record(0, [])])
    result = audit(*(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def drifts(before: Sequence[float], after: Sequence[float], model: str = "m") -> list[dict[str, Any]]:
    records = [record(days, [best, best - 1], model) for days, side in ((9, before), (1, after)) for best in side]
    return drift(records, NOW - timedelta(days=7))


def test_drift_finds_scores_that_have_moved() -> None:
    """Best scores that fell are a shift, with the p-value of scipy's test; a model without both periods is left out."""
    chance = np.random.default_rng(0)
    before, after = chance.normal(0, 1, 60), chance.normal(-2, 1, 40)
    (found,) = drifts(before.tolist(), after.tolist())
    expected = ks_2samp(before, after)
    assert (found["ks"], found["p_value"]) == (expected.statistic, expected.pvalue)
    assert (found["before"], found["after"], found["finding"]) == (60, 40, "shift")
    assert found["median_before"] - found["median_after"] > 1
    assert drifts([], [1.0] * 30) == []


@pytest.mark.parametrize("calls", [10, 20, 50, 200])
def test_equal_periods_are_no_shift(calls: int) -> None:
    """Of 200 pairs of equal periods at most 1 %, and three standard errors, are a shift, at any number of calls."""
    chance = np.random.default_rng(calls)
    found = [drifts(*chance.normal(0, 1, (2, calls)).tolist())[0]["finding"] for _ in range(200)]
    assert found.count("shift") / 200 <= 0.01 + 3 * (0.01 * 0.99 / 200) ** 0.5


@pytest.mark.parametrize(("before", "after"), [(19, 20), (20, 19), (1, 1000)])
def test_few_calls_show_no_drift(before: int, after: int) -> None:
    """Below 20 calls in a period the finding is "too few", with both counts."""
    (found,) = drifts([0.0] * before, [9.0] * after)
    assert (found["finding"], found["p_value"]) == ("too few", None)
    assert (found["before"], found["after"]) == (before, after)


def test_drift_is_asked_for_and_printed(file: Path) -> None:
    """``--drift-days`` adds drift to the answers, in a table and as JSON; without it there is none."""
    assert "drift" not in json.loads(audit(file, "--json").stdout)
    AuditFile(file, 1e9, 1e9).write([record(20, [1.0]) for _ in range(20)] + [record(1, [1.0]), record(20, [2.0], "n")])
    (found,) = json.loads(audit(file, "--json", "--drift-days", "7").stdout)["drift"]
    assert (found["model"], found["before"], found["after"], found["finding"]) == ("m", 20, 1, "too few")
    assert "too few" in audit(file, "--drift-days", "7").stdout


def test_drift_alone_needs_scipy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scipy the other answers are given, and drift names the extra."""
    monkeypatch.setattr("secondpass.errors.is_installed", lambda package: package != "scipy")
    assert audit(file).exit_code == 0
    result = audit(file, "--drift-days", "7")
    assert result.exit_code == 2
    assert "secondpass[eval]" in result.stderr


def test_percentiles_are_in_milliseconds() -> None:
    """p50, p95 and p99 are those of the seconds, times a thousand."""
    records = [
        record(0, [], stages=[{"name": "score", "seconds": number / 1000}], seconds=number / 500)
        for number in range(101)
    ]
    stages = summary(records)["stages_ms"]
    assert stages["score"] == {"calls": 101, "p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert stages["call"]["p50"] == 100.0

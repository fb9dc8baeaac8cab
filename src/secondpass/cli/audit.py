"""``secondpass audit``: what an audit file answers."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secondpass.cli.app import app, bars, console, one_line_errors, say
from secondpass.errors import ConfigurationError
from secondpass.observe.audit_file import read_records
from secondpass.observe.audit_summary import drift, fates, summary

_NEVER = 1
_Records = Callable[[], Iterator[dict[str, Any]]]
_DRIFT = ("median_before", "median_after", "ks", "p_value")


@app.command(short_help="Ask an audit file: why was a document not used, what is dropped, what has changed.")
def audit(
    file: Annotated[Path, typer.Argument(help="The file that AuditLog wrote.")],
    *,
    why: Annotated[str | None, typer.Option(help="What became of this document: its id, source, or text hash.")] = None,
    query: Annotated[str | None, typer.Option(help="With --why: calls whose query holds this.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only calls from here on: 2026-11-24, 2026-11-24T18:00, or days back as 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only calls before this, as above.")] = None,
    drift_days: Annotated[
        float | None, typer.Option(min=0, help="Compare the best scores of the last N days with earlier ones (eval).")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many documents dropped often, or calls of --why.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    export: Annotated[bool, typer.Option("--export", help="Print the records themselves, as JSON Lines.")] = False,
) -> None:
    """Answer from an audit file: degraded calls, milliseconds, reasons, documents dropped often, and drift.

    With --drift-days, each call's best score of the last days (before --until, or now) is compared with all earlier
    ones since --since, by the Kolmogorov-Smirnov test: p below 0.01 is a shift. It takes 20 calls in each period.

    With --why, the exit code is 1 where the document never was a candidate.
    """
    with one_line_errors():
        _check_options(export=export, as_json=as_json, why=why, query=query, drift_days=drift_days)
        records = partial(read_records, file, _moment("--since", since), end := _moment("--until", until))
        if export:
            for record in records():
                typer.echo(json.dumps(record))
            return
        with bars() as report:
            report(f"reading {file.name}", 0, None)
            if why is not None:
                answer: dict[str, Any] = {"document": why, "calls": fates(records(), why, query)}
            else:
                answer = summary(records(), top) | _drift(records, end, drift_days)
    if as_json:
        say(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        (_print_summary if why is None else partial(_print_fates, top))(console(), answer)
    if why is not None and not answer["calls"]:
        raise typer.Exit(_NEVER)


def _check_options(
    *, export: bool, as_json: bool, why: str | None, query: str | None, drift_days: float | None
) -> None:
    """Check options against each other.

    :raises ConfigurationError: If one of them would have no effect.
    """
    if query is not None and why is None:
        raise ConfigurationError("--query goes with --why, which names the document")
    if export and (as_json or why is not None or drift_days is not None):
        raise ConfigurationError("--export prints whole records: without --why, --drift-days and --json")
    if why is not None and drift_days is not None:
        raise ConfigurationError("--drift-days compares periods, and --why asks for a document: give one of them")


def _drift(records: _Records, end: datetime | None, days: float | None) -> dict[str, Any]:
    """Return the drift of the last days, where it is asked for."""
    if days is None:
        return {}
    boundary = (end or datetime.now(UTC)) - timedelta(days=days)
    return {"drift_since": boundary.isoformat(timespec="seconds"), "drift": drift(records(), boundary)}


def _moment(option: str, given: str | None) -> datetime | None:
    """Return a moment; one without a time zone is local."""
    if given is None:
        return None
    try:
        if given.endswith("d"):
            return datetime.now(UTC) - timedelta(days=float(given[:-1]))
        return datetime.fromisoformat(given).astimezone()
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"{option} must be as 2026-11-24, 2026-11-24T18:00 or 7d, got {given!r}") from error


def _print_fates(top: int, out: Console, answer: Mapping[str, Any]) -> None:
    calls, document = answer["calls"], answer["document"]
    if not calls:
        out.print(Text(f"{document} was never a candidate: no call had it from the first stage."))
        return
    kept = sum(call["kept"] for call in calls)
    out.print(Text(f"{document} was a candidate in {len(calls)} calls, kept in {kept}; the last ones:", style="bold"))
    for call in calls[-top:]:
        out.print(Text(f"\n{call['time']}  {call['query']}"))
        out.print(Text(f"  {_fate_line(call)}", style="green" if call["kept"] else "red"))


def _fate_line(call: Mapping[str, Any]) -> str:
    ranks = f"first-stage rank {call['rank_before']}"
    score = "no score" if "score" not in call else f"score {call['score']:.2f}"
    if call["kept"]:
        return f"kept at rank {call['rank']}: {ranks}, {score}"
    why = f"{call['reason']}" + (f" ({call['detail']})" if call.get("detail") else "")
    because = f", because of {call['because_of']}" if call.get("because_of") else ""
    lowest = f"; the lowest kept score is {call['lowest_kept_score']:.2f}" if "lowest_kept_score" in call else ""
    degraded = f"; the call was degraded: {call['degraded']}" if "degraded" in call else ""
    return f"dropped, {why}{because}: {ranks}, {score}{lowest}{degraded}"


def _print_summary(out: Console, answer: Mapping[str, Any]) -> None:
    calls, degraded = answer["calls"], answer["degraded"]
    if not calls:
        out.print(Text("no calls in this period"))
        return
    causes = ", ".join(f"{count} {cause}" for cause, count in degraded["causes"].items())
    line = f"degraded: {degraded['calls']} ({degraded['calls'] / calls:.1%})" + (f": {causes}" if causes else "")
    out.print(Text(f"{calls} calls from {answer['first']} to {answer['last']}", style="bold"))
    out.print(Text(line + (f"; failed: {answer['failed']}" if answer["failed"] else "")))
    stages = [(name, *(f"{value:g}" for value in row.values())) for name, row in answer["stages_ms"].items()]
    _print_table(out, "milliseconds", ("stage", "calls", "p50", "p95", "p99"), stages)
    reasons = [(name, str(count)) for name, count in answer["reasons"].items()]
    _print_table(out, f"dropped, of {answer['candidates']} candidates", ("reason", "candidates"), reasons)
    often = [
        (row["id"], str(row["dropped"]), str(row["kept"]), ", ".join(f"{n} {why}" for why, n in row["reasons"].items()))
        for row in answer["dropped_often"]
    ]
    _print_table(out, "dropped again and again", ("document", "dropped", "kept", "why"), often)
    if "drift" in answer:
        _print_drift(out, answer["drift"], answer["drift_since"])


def _print_drift(out: Console, drifts: Sequence[Mapping[str, Any]], since: str) -> None:
    rows = [
        (
            row["model"],
            *(str(row[name]) for name in ("before", "after")),
            *("-" if row[name] is None else f"{row[name]:.3f}" for name in _DRIFT),
            row["finding"],
        )
        for row in drifts
    ]
    columns = ("model", "calls before", "after", "median before", "after", "ks", "p", "finding")
    _print_table(out, f"best scores since {since}, against before", columns, rows)
    if not rows:
        out.print(Text(f"\ndrift: no model has scores both before and since {since}", style="dim"))


def _print_table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    out.print(Text(f"\n{title}", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for position, name in enumerate(columns):
        number = all(row[position].replace(".", "", 1).lstrip("-").isdigit() for row in rows)
        table.add_column(name, overflow="fold", justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)

"""``secondpass doctor``."""

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from secondpass import doctor as doctor_room
from secondpass.cli.app import app, console

_STYLES = {
    doctor_room.Status.OK: "green",
    doctor_room.Status.OPTIONAL: "dim",
    doctor_room.Status.PROBLEM: "yellow",
    doctor_room.Status.BROKEN: "bold red",
}


@app.command(short_help="Say what is installed and what is missing.")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Say what this machine and this installation have, what is missing, and what to do about it."""
    findings = doctor_room.examine()
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        _print_findings(findings)
    if doctor_room.is_broken(findings):
        raise typer.Exit(1)


def _print_findings(findings: tuple[doctor_room.Finding, ...]) -> None:
    screen = console()
    for area in dict.fromkeys(finding.area for finding in findings):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(min_width=16, style="bold")
        table.add_column(min_width=8)
        table.add_column(overflow="fold")
        for finding in (item for item in findings if item.area == area):
            status = Text(finding.status, _STYLES[finding.status])
            advice = f"\n-> {finding.advice}" if finding.advice else ""
            table.add_row(Text(finding.name), status, Text(finding.value + advice))
        screen.print(Text(area, style="bold underline"), table, "", sep="\n")
    verdict = "the base install is broken" if doctor_room.is_broken(findings) else "the base install works"
    screen.print(Text(verdict, style="bold"))

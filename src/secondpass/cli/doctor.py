"""``secondpass doctor``: what this machine and this installation have, what is missing, and what to do about it."""

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from secondpass.cli.app import app, console, installed_version, one_line_errors
from secondpass.cli.ask.bi_encoder import cache_folder, is_fetched
from secondpass.cli.findings import CONFIGURATION, Finding, Status, configuration
from secondpass.cli.models import hub_cached
from secondpass.errors import ConfigurationError, MissingExtra, SecondpassError
from secondpass.models import CASCADES, bundled_models
from secondpass.scoring.hardware import Hardware, cpu_count, cpu_threads
from secondpass.scoring.load import ENGINES, load_scorer

_NAME = "secondpass"
_MODULES = {"protobuf": "google.protobuf"}
_NOT_SHOWN = {"all", "dev"}  # the others together, and what only this project's own development needs


_STYLES = {Status.OK: "green", Status.OPTIONAL: "dim", Status.PROBLEM: "yellow", Status.BROKEN: "bold red"}


@app.command(short_help="Say what is installed and what is missing.")
def doctor(
    *,
    config: Annotated[Path | None, typer.Option(help="Check this configuration file, and open its models.")] = None,
    fetch_k: Annotated[int | None, typer.Option(min=1, help="How many candidates the first stage returns.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many are kept, in place of the file's top_k.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what this machine and this installation have, what is missing, and what to do about it.

    With --fetch-k it says whether the first stage returns enough candidates for top_k. The exit code is 1 where the
    base install or the configuration file doesn't work.
    """
    with one_line_errors():
        if fetch_k is not None and config is None and top_k is None:
            raise ConfigurationError("--fetch-k is compared with top_k: give --top-k, or --config with a file")
    findings = (*examine(), *configuration(config, fetch_k, top_k))
    broken = {finding.area for finding in findings if finding.status is Status.BROKEN}
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_findings(findings)
        base = "the base install is broken" if broken - {CONFIGURATION} else "the base install works"
        verdict = f"{base}; the configuration doesn't work" if CONFIGURATION in broken else base
        console().print(Text(verdict, style="bold"))
    if broken:
        raise typer.Exit(1)


def _print_findings(findings: Iterable[Finding]) -> None:
    for area, group in groupby(findings, key=lambda finding: finding.area):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(min_width=16, style="bold")
        table.add_column(min_width=8)
        table.add_column(overflow="fold")
        for finding in group:
            advice = f"\n-> {finding.advice}" if finding.advice else ""
            status = Text(finding.status, _STYLES[finding.status])
            table.add_row(Text(finding.name), status, Text(finding.value + advice))
        console().print(Text(area, style="bold underline"), table, "", sep="\n")


def examine() -> tuple[Finding, ...]:
    """Run every check; nothing is fetched, and what is missing is a finding, never an error."""
    checks = (_machine, _base, _extras, _engines, _bundled_models, _demo_model, _hub_models)
    return tuple(finding for check in checks for finding in check())


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "system", f"{platform.system()} {platform.machine()}")
    yield Finding("machine", "python", platform.python_version())
    usable, installed = cpu_count(), os.cpu_count() or 1
    yield Finding("machine", "processors", f"{usable} usable of {installed}" if usable < installed else str(installed))
    yield Finding("machine", "threads", f"{cpu_threads(None)} for a forward pass")


def _base() -> Iterator[Finding]:
    """Check the base install by importing it: an installed package may not work."""
    yield Finding("base", _NAME, installed_version(_NAME) or "not installed as a package")
    requirements = _requirements(extra="")
    if not requirements:
        advice = "pip install secondpass: a bare folder doesn't say what it needs"
        yield Finding("base", "requirements", "unknown", Status.PROBLEM, advice)
    for requirement in requirements:
        name, version, line = requirement.name, installed_version(requirement.name), _without_marker(requirement)
        try:
            importlib.import_module(_MODULES.get(name, name.replace("-", "_")))
        except (ImportError, OSError) as error:
            advice = f'pip install --force-reinstall "{line}"'
            yield Finding("base", name, f"can't be imported: {error!s:.200}", Status.BROKEN, advice)
            continue
        if _is_met(requirement):
            yield Finding("base", name, version or "")
        else:
            yield Finding("base", name, version or "of unknown version", Status.BROKEN, f'pip install "{line}"')


def _extras() -> Iterator[Finding]:
    names = importlib.metadata.metadata(_NAME).get_all("Provides-Extra") or () if installed_version(_NAME) else ()
    for extra in sorted(set(names) - _NOT_SHOWN):
        needed = {requirement.name: requirement for requirement in _requirements(extra)}
        missing = [_without_marker(requirement) for requirement in needed.values() if not _is_met(requirement)]
        if missing:
            advice = f'pip install "{_NAME}[{extra}]"'
            yield Finding("extras", extra, f"without {', '.join(missing)}", Status.OPTIONAL, advice)
        else:
            yield Finding("extras", extra, ", ".join(f"{name} {installed_version(name)}" for name in needed))


def _engines() -> Iterator[Finding]:
    """Import each engine that is installed, and list the devices that it sees."""
    sees_gpu = False
    for name, entry in ENGINES.items():
        if not entry.installed:
            advice = f'pip install "{_NAME}[{entry.extra}]"'
            yield Finding("engines", name, f"needs {entry.package}", Status.OPTIONAL, advice)
            continue
        try:
            hardware: Hardware = importlib.import_module(entry.module).hardware()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            advice = f"pip install --force-reinstall {entry.package}"
            yield Finding("engines", name, f"can't be used: {error!s:.200}", Status.PROBLEM, advice)
            continue
        sees_gpu = sees_gpu or bool(hardware.gpus)
        gpus = [f"cuda:{gpu.index}" + (f" ({gpu.name})" if gpu.name else "") for gpu in hardware.gpus]
        yield Finding("engines", name, ", ".join(["cpu", *gpus, *(["mps"] if hardware.mps else [])]))
    if shutil.which("nvidia-smi") and not sees_gpu:
        advice = "install the CUDA build of torch, or onnxruntime-gpu in place of onnxruntime"
        yield Finding(
            "engines", "cuda", "an NVIDIA driver is installed, and no engine sees a GPU", Status.PROBLEM, advice
        )


def _bundled_models() -> Iterator[Finding]:
    """Open each bundled model and run it once: how long a first call waits, and in which form it runs."""
    for name in (*bundled_models(), *CASCADES):
        started = time.perf_counter()
        try:
            scorer = load_scorer(name, device="cpu")
            loaded = time.perf_counter()
            scorer.warmup()
        except (SecondpassError, ImportError, OSError) as error:
            advice = f"pip install --force-reinstall {_NAME}"
            yield Finding("models", name, f"bundled, can't be opened: {error!s:.200}", Status.BROKEN, advice)
        else:
            took = f"loads in {loaded - started:.2f} s, first pass {time.perf_counter() - loaded:.2f} s"
            yield Finding("models", name, f"bundled, {took}: {scorer!r}")


def _demo_model() -> Iterator[Finding]:
    try:
        cache = cache_folder()
    except MissingExtra:
        return  # reported with the extras
    if is_fetched(cache):
        yield Finding("models", "demo", f"its bi-encoder is in {cache}")
    else:
        advice = "secondpass ask fetches it"
        yield Finding("models", "demo", f"its bi-encoder isn't fetched yet ({cache})", Status.OPTIONAL, advice)


def _hub_models() -> Iterator[Finding]:
    """List the models in the hub library's cache, the largest first."""
    cached = hub_cached()
    for model in cached:
        yield Finding("models", model.name, f"in the hub cache, {model.megabytes:.0f} MB")
    if not cached:
        yield Finding("models", "hub cache", "empty: nothing was fetched from the hub yet", Status.OPTIONAL)


def _requirements(extra: str) -> list[Requirement]:
    """Return what an extra needs beside the base install; an empty name returns what the base install needs."""
    lines = (importlib.metadata.requires(_NAME) or ()) if installed_version(_NAME) else ()
    requirements = map(Requirement, lines)
    return [item for item in requirements if _applies(item, extra) and (not extra or not _applies(item, ""))]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _is_met(requirement: Requirement) -> bool:
    version = installed_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _without_marker(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"

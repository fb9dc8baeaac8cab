"""Models from the hub, against a local server with the hub's protocol."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "tiny-org/tiny-reranker"
SCORE = """
import sys
from secondpass import load_scorer
from secondpass.errors import ModelNotFound
try:
    scorer = load_scorer(sys.argv[1], engine="onnx", dtype=sys.argv[2])
except ModelNotFound as error:
    print("ModelNotFound", error)
else:
    print(scorer.spec.name, scorer.score("a cat", ["the dog"])[0].value, scorer.spec.fingerprint)
"""


class Hub(BaseHTTPRequestHandler):
    """Serves one repository from a folder."""

    folder: Path
    requests: list[str]

    def do_HEAD(self) -> None:
        """Answer as for GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer the model's description, the list of its files, or one file."""
        self.requests.append(self.path)
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {file.relative_to(self.folder).as_posix(): file for file in files}
        if self.path.startswith(f"/api/models/{MODEL}/tree/"):
            self._send(
                [{"type": "file", "path": name, "size": f.stat().st_size, "oid": "0"} for name, f in names.items()]
            )
        elif self.path.startswith(f"/api/models/{MODEL}"):
            siblings = [{"rfilename": name} for name in names]
            self._send({"id": MODEL, "modelId": MODEL, "sha": COMMIT, "siblings": siblings, "private": False})
        elif self.path.startswith(f"/{MODEL}/resolve/{COMMIT}/"):
            self._send_file(names[self.path.partition(f"/{COMMIT}/")[2].partition("?")[0]])
        else:
            self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _send(self, content: object) -> None:
        self._reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send_file(self, file: Path) -> None:
        content = file.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self._reply(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub(tiny: Callable[..., Path]) -> Iterator[ThreadingHTTPServer]:
    """Serve a hub with one model on this machine."""
    handler = type("OneModelHub", (Hub,), {"folder": tiny("onnx"), "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def load(model: str, hub: ThreadingHTTPServer, cache: Path, dtype: str = "auto") -> str:
    """Load and score in a new process, since the hub's library reads the address when it is imported."""
    address = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCORE, model, dtype],
        env=os.environ | address,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr


def test_a_hub_id_is_fetched_once_and_then_served_from_the_cache(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    """A model is downloaded from the hub; without the hub it loads from the cache and scores the same."""
    first = load(MODEL, hub, tmp_path)
    assert first.startswith(f"{MODEL} ")
    assert COMMIT in first
    hub.shutdown()
    hub.server_close()
    assert load(MODEL, hub, tmp_path) == first


def test_only_the_engines_files_are_fetched(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    """The ONNX engine fetches its own files of a repository, and never a pickle."""
    load(MODEL, hub, tmp_path)
    fetched = {path.rsplit("/", 1)[1] for path in hub.RequestHandlerClass.requests if "/resolve/" in path}  # type: ignore[attr-defined]
    assert {"model.onnx", "tokenizer.json", "config.json"} <= fetched
    assert not any(name.endswith((".bin", ".safetensors")) for name in fetched)


@pytest.mark.parametrize(("dtype", "others"), [("auto", ["model_fp16"]), ("int8", ["model_fp16", "model"])])
def test_the_graph_that_suits_the_machine_is_fetched(
    dtype: str, others: list[str], hub: ThreadingHTTPServer, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """A repository's list of files decides which graph is fetched, and it loads again without the hub."""
    folder = tmp_path / "repository"
    (folder / "onnx").mkdir(parents=True)
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(tiny("onnx") / name, folder / name)
    for name in (*others, "model_quantized"):
        shutil.copyfile(tiny("onnx", variant="dynamic") / "model.onnx", folder / "onnx" / f"{name}.onnx")
    hub.RequestHandlerClass.folder = folder  # type: ignore[attr-defined]
    first = load(MODEL, hub, tmp_path / "cache", dtype)
    assert first.startswith(f"{MODEL} ")
    fetched = {path for path in hub.RequestHandlerClass.requests if path.endswith(".onnx")}  # type: ignore[attr-defined]
    assert {path.rsplit("/", 1)[1] for path in fetched} == {"model_quantized.onnx"}
    hub.shutdown()
    hub.server_close()
    assert load(MODEL, hub, tmp_path / "cache", dtype) == first


def test_an_unknown_id_is_an_error(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    """An id that the hub doesn't know is a ModelNotFound that names it."""
    assert load("nobody/nothing", hub, tmp_path).startswith("ModelNotFound no folder and no hub model 'nobody/nothing'")


def test_an_unreachable_hub_is_an_error(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    """Without the hub and with an empty cache, the error says what to do."""
    hub.shutdown()
    hub.server_close()
    printed = load(MODEL, hub, tmp_path)
    assert printed.startswith("ModelNotFound")
    assert "the hub can't be reached" in printed

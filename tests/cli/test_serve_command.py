"""``secondpass serve`` as a process."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

COMMAND = [sys.executable, "-m", "secondpass", "serve", "--model", "overlap", "--port", "0"]
BODY = {"query": "flea lives", "documents": ["rain", "a flea lives", "flea"]}


@contextmanager
def process(*options: str, **environment: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run the command, and yield its URL, which uvicorn prints."""
    given = {"env": {**os.environ, **environment}, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, *options], **given) as running:  # type: ignore[call-overload]
        try:
            for line in running.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    yield found[1], running
                    return
            pytest.fail("the server ended")
        finally:
            running.kill()


def test_the_command_serves_until_it_is_terminated(tmp_path: Path) -> None:
    """With the configuration file of the other commands, and the key of the environment."""
    config = tmp_path / "secondpass.toml"
    config.write_text("[selection]\ntop_n = 2\n")
    with process("--config", str(config), SECONDPASS_API_KEY="k-1") as (url, running):
        assert httpx.get(url + "/health").json()["model"] == "overlap"
        assert httpx.post(url + "/rerank", json=BODY).status_code == 401
        answer = httpx.post(url + "/rerank", json=BODY, headers={"Authorization": "Bearer k-1"}).json()
        assert [result["index"] for result in answer["results"]] == [1, 2]
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) in (0, -signal.SIGTERM)


def test_several_processes(tmp_path: Path) -> None:
    """Each answers with its own model, the metrics are of all, and they end together."""
    metrics = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with process("--workers", "2", "--shutdown-seconds", "5", "--log-level", "info", **metrics) as (url, running):
        with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=120) as client:
            for _ in range(4):
                assert client.post(url + "/rerank", json=BODY, headers={"Connection": "close"}).status_code == 200
            assert 'secondpass_requests_total{status="200"} 4.0' in client.get(url + "/metrics").text
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) in (0, -signal.SIGTERM)


def test_another_address_needs_a_key() -> None:
    """The command refuses in one line, before a model is loaded."""
    environment = {name: value for name, value in os.environ.items() if name != "SECONDPASS_API_KEY"}
    done = subprocess.run(
        [*COMMAND, "--host", "0.0.0.0"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("secondpass: other machines can reach 0.0.0.0: set an API key")

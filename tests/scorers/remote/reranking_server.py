"""A local server that speaks every dialect of reranking servers, and misbehaves on request."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from secondpass.models.dialects import DIALECTS

PATHS = {dialect.path for dialect in DIALECTS.values()}
Scores = list[tuple[int, float]]


@dataclass
class Answer:
    """What the server sends instead of a good answer.

    :param status: The status.
    :param body: The body; None for the good one.
    :param headers: Further headers.
    :param cut: How many bytes of the body are sent, of those that Content-Length promises.
    :param hang: Wait until the server's end, before the answer.
    :param drip: Wait until the server's end, in the middle of the answer.
    """

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    hang: bool = False
    drip: bool = False


class RerankingServer:
    """The server's state: what it was sent, and how it is to answer.

    :ivar requests: Path, body and headers of each request.
    :ivar answers: Answers for the next requests; the last one is repeated.
    :ivar change: Changes the good answer's results before they are sent.
    :ivar refused: Texts for which a request is refused, with ``refused_status``.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.answers: list[Answer] = []
        self.change: Callable[[Scores], Scores] = lambda scores: scores
        self.refused: set[str] = set()
        self.refused_status = 400
        self.received = threading.Event()
        self.closing = threading.Event()
        self.url = ""

    def next_answer(self) -> Answer:
        if not self.answers:
            return Answer()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def good_answer(self, path: str, body: dict[str, Any]) -> bytes:
        """Return a good answer, best first as servers do; a text's score is its number, divided by 100."""
        texts = body.get("documents") or body.get("texts") or body.get("input") or body.get("passages")
        if "questions" in body:
            texts = [question["instructions"].rpartition("\n")[2] for question in body["questions"].values()]
        plain = [text["text"] if isinstance(text, dict) else text for text in texts or []]
        scores = [(index, float(text.split()[-1]) / 100) for index, text in enumerate(plain)]
        scores = self.change(sorted(scores, key=lambda item: -item[1]))
        return json.dumps(in_form(path, body, scores)).encode()


def in_form(path: str, body: dict[str, Any], scores: Scores) -> object:
    """Return scores in the form of a path's dialect."""
    if "questions" in body:
        return {"answers": {f"d{index}": {"type": "noul", "noul": score} for index, score in scores}}
    if "texts" in body:
        return [{"index": index, "score": score} for index, score in scores]
    if "passages" in body:
        return {"rankings": [{"index": index, "logit": score} for index, score in scores]}
    if "input" in body:
        return {"data": [{"index": index, "score": score} for index, score in scores]}
    key = "data" if "truncation" in body else "results"
    return {key: [{"index": index, "relevance_score": score} for index, score in scores]}


class _Handler(BaseHTTPRequestHandler):
    """Answers as the server's state says."""

    protocol_version = "HTTP/1.1"
    state: RerankingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.requests.append((self.path, body, dict(self.headers)))
        answer = self.state.next_answer() if self.path in PATHS else Answer(404, b"{}")
        if self.state.refused & {*map(str, body.get("documents", ()))}:
            answer = Answer(self.state.refused_status, b"{}")
        self.state.received.set()
        if answer.hang:
            self.state.closing.wait()
        content = self.state.good_answer(self.path, body) if answer.body is None else answer.body
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # the client is gone
            self._send(answer, content)

    def _send(self, answer: Answer, content: bytes) -> None:
        self.close_connection = answer.drip or answer.cut is not None
        self.wfile.write(content[:3] if answer.drip else content[: answer.cut])
        if answer.drip:
            self.state.closing.wait()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Run a server that reads a request and sends these bytes, whatever they are; yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.settimeout(5)
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join()


@contextmanager
def running() -> Iterator[RerankingServer]:
    """Run the server on a free port of this machine."""
    state = RerankingServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()

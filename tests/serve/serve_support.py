"""A server that runs on a free port while a test needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from secondpass import Reranker, Selection
from secondpass.scoring.scorer import Scorer
from secondpass.serve import Settings, create_app


class Running:
    """A server on a free port of this machine.

    :param scorer: What scores.
    :param settings: The application's settings.
    :param selection: The configured selection.
    """

    def __init__(self, scorer: Scorer, settings: Settings, selection: Selection) -> None:
        app = create_app(Reranker(scorer, selection=selection), settings)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=20)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"


@contextmanager
def serving(scorer: Scorer, settings: Settings | None = None, selection: Selection | None = None) -> Iterator[Running]:
    """Run a server, and end it."""
    running = Running(scorer, settings or Settings(), selection or Selection(duplicates="keep"))
    running.thread.start()
    while not running.server.started and running.thread.is_alive():
        threading.Event().wait(0.01)
    try:
        yield running
    finally:
        running.server.should_exit = True
        running.thread.join()

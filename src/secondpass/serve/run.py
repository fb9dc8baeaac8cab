"""Running the application with uvicorn."""

import base64
import ipaddress
import logging
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import uvicorn
from starlette.applications import Starlette

from secondpass.errors import ConfigurationError, SecondpassError
from secondpass.reranker import Reranker
from secondpass.serve.app import MANY_PROCESSES, Settings, create_app

_APPLICATION = "SECONDPASS_SERVED"  # the environment variable in which processes find what they serve
_STARTUP_FAILURE = 3  # the exit status of a process that uvicorn doesn't start again
_START_SECONDS = 120  # how long a process may take to load libraries

_LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


@dataclass(frozen=True, slots=True)
class Server:
    """Settings of the process.

    :param host: The address; another one than this machine's own needs an API key.
    :param port: The port.
    :param shutdown_seconds: How long the last requests may take; those that take longer get status 503.
    :param workers: How many processes answer, each with its own model and its own limit of requests.
    :param log_level: ``critical``, ``error``, ``warning``, ``info`` or ``debug``.
    :raises ConfigurationError: If a setting is out of its range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    shutdown_seconds: int = 30
    workers: int = 1
    log_level: str = "info"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (0 <= self.port <= 65535 and self.shutdown_seconds >= 0 and self.workers >= 1):
            raise ConfigurationError(
                "port must be 0 to 65535, shutdown_seconds 0 or more and workers 1 or more, got "
                f"{self.port!r}, {self.shutdown_seconds!r}, {self.workers!r}"
            )
        if self.log_level not in _LOG_LEVELS:
            raise ConfigurationError(f"log_level must be {', '.join(_LOG_LEVELS)}, got {self.log_level!r:.40}")


@dataclass(frozen=True, slots=True)
class _Application:
    """Makes the application in the process that serves it.

    :param open_reranker: Opens the reranker.
    :param settings: Limits and API key.
    """

    open_reranker: Callable[[], Reranker]
    settings: Settings

    def __call__(self) -> Starlette:
        """Return the application, its model warmed up."""
        reranker = self.open_reranker()
        reranker.warmup()
        return create_app(reranker, self.settings)


def run(open_reranker: Callable[[], Reranker], settings: Settings | None = None, server: Server | None = None) -> None:
    """Serve until the process is interrupted or terminated; requests that were accepted are finished first.

    :param open_reranker: Opens what ranks, in each process; with several ones a function that can be pickled.
    :param settings: Limits and API key.
    :param server: Address, processes and log.
    :raises ConfigurationError: If other machines can connect and there is no API key, or the reranker can't be opened.
    """
    settings, server = settings or Settings(), server or Server()
    check_host(server.host, settings)
    application = _Application(open_reranker, settings)
    serve = partial(
        uvicorn.run,
        host=server.host,
        port=server.port,
        timeout_graceful_shutdown=server.shutdown_seconds,
        log_level=server.log_level,
        access_log=False,
        server_header=False,
    )
    if server.workers == 1:
        serve(application())
        return
    with tempfile.TemporaryDirectory(prefix="secondpass-metrics-") as folder:
        os.environ.setdefault(MANY_PROCESSES, folder)
        os.environ[_APPLICATION] = base64.b64encode(pickle.dumps(application)).decode()
        name = f"{__name__}:{in_process.__name__}"
        serve(name, factory=True, workers=server.workers, timeout_worker_healthcheck=_START_SECONDS)


def in_process() -> Starlette:
    """Return the application in one of several processes, for uvicorn; one that can't be made ends the server."""
    application: _Application = pickle.loads(base64.b64decode(os.environ[_APPLICATION]))  # noqa: S301  # the parent's
    try:
        return application()
    except SecondpassError as error:
        logging.getLogger("uvicorn.error").error("%s", error)  # noqa: TRY400  # it says what to do
        sys.exit(_STARTUP_FAILURE)


def check_host(host: str, settings: Settings) -> None:
    """Check that an address that other machines reach is protected.

    :raises ConfigurationError: If it isn't.
    """
    if settings.api_key is None and not _is_loopback(host):
        raise ConfigurationError(
            f"other machines can reach {host}: set an API key in SECONDPASS_API_KEY, or bind to 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"

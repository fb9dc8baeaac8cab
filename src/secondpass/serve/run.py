"""Running the application with uvicorn."""

import ipaddress
from contextlib import suppress

import uvicorn

from secondpass.errors import ConfigurationError
from secondpass.reranker import Reranker
from secondpass.serve.app import Settings, create_app


def run(
    reranker: Reranker,
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    shutdown_seconds: int = 30,
) -> None:
    """Serve until the process is interrupted or terminated; requests that were accepted are finished first.

    :param reranker: What ranks.
    :param settings: Limits and API key.
    :param host: The address; another one than this machine's own needs an API key.
    :param port: The port.
    :param shutdown_seconds: How long the last requests may take.
    :raises ConfigurationError: If other machines can connect, and there is no API key.
    """
    settings = settings or Settings()
    check_host(host, settings)
    uvicorn.run(
        create_app(reranker, settings),
        host=host,
        port=port,
        timeout_graceful_shutdown=shutdown_seconds,
        access_log=False,
        server_header=False,
    )


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

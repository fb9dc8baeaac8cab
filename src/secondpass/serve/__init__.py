"""An HTTP server for a reranker, which frameworks and other languages share (extra ``serve``).

``secondpass serve`` runs it; ``create_app(reranker)`` is the ASGI application, for a server of one's own.
"""

from secondpass.errors import require

require("secondpass serve", "serve", "starlette", "uvicorn", "prometheus-client", "pydantic")

from secondpass.serve.app import Settings, create_app
from secondpass.serve.run import Server, run

__all__ = ["Server", "Settings", "create_app", "run"]

"""``secondpass serve``: a reranker over HTTP."""

import os
from functools import partial
from typing import Annotated

import typer

from secondpass.cli.app import app, installed_version, one_line_errors
from secondpass.cli.settings import ConfigFile, Device, Engine, MaxTokens, Model, TopN, command_config, open_reranker


@app.command(short_help="Serve a reranker over HTTP.")
def serve(
    *,
    config: ConfigFile = None,
    model: Model = None,
    top_n: TopN = None,
    max_tokens: MaxTokens = None,
    duplicates: Annotated[str | None, typer.Option(help="keep (the default without --config), exact or near.")] = None,
    device: Device = None,
    engine: Engine = None,
    deadline_ms: Annotated[float | None, typer.Option(help="For requests without X-Deadline-Ms.")] = None,
    host: Annotated[str, typer.Option(help="Other machines can reach any but the default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.")] = 8000,
    max_requests: Annotated[int, typer.Option(help="Requests at once; further ones get status 429.")] = 64,
    max_documents: Annotated[int, typer.Option(help="Documents of a request.")] = 2000,
    max_body_mb: Annotated[float, typer.Option(help="The longest body.")] = 16.0,
    workers: Annotated[int, typer.Option(help="Processes, each with its own model and --max-requests.")] = 1,
    shutdown_seconds: Annotated[int, typer.Option(help="How long the last requests may take.")] = 30,
    log_level: Annotated[str, typer.Option(help="critical, error, warning, info or debug.")] = "info",
) -> None:
    """Serve /rerank (the forms of Cohere, Jina and text-embeddings-inference) over one reranker.

    /health, /ready, /metrics and /openapi.json are there too.

    The API key is read from SECONDPASS_API_KEY; without one only this machine may connect.
    """
    with one_line_errors():
        from secondpass.serve import Server, Settings, run
        from secondpass.serve.run import check_host

        settings = Settings(
            api_key=os.environ.get("SECONDPASS_API_KEY"),
            max_requests=max_requests,
            max_documents=max_documents,
            max_body_bytes=int(max_body_mb * 1_000_000),
            version=installed_version("secondpass") or "0",
        )
        check_host(host, settings)
        server = Server(host, port, shutdown_seconds, workers, log_level)
        stated = command_config(
            config,
            model={"name": model, "engine": engine, "device": device},
            selection={"top_n": top_n, "duplicates": duplicates or (None if config else "keep")},
            max_tokens=max_tokens,
            deadline_ms=deadline_ms,
        )
        run(partial(open_reranker, stated), settings, server)

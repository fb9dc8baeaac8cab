"""``secondpass serve``: a reranker over HTTP."""

import os
from typing import Annotated

import typer

from secondpass.cli.app import app, installed_version, one_line_errors
from secondpass.cli.settings import ConfigFile, Device, Engine, MaxTokens, Model, TopK, command_config, open_reranker
from secondpass.scoring.scorer import warm_up


@app.command(short_help="Serve a reranker over HTTP.")
def serve(
    *,
    config: ConfigFile = None,
    model: Model = None,
    top_k: TopK = None,
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
) -> None:
    """Serve /rerank (the form of Cohere and Jina), /health, /metrics and /openapi.json over one reranker.

    The API key is read from SECONDPASS_API_KEY; without one only this machine may connect.
    """
    with one_line_errors():
        from secondpass.serve import Settings, run
        from secondpass.serve.run import check_host

        settings = Settings(
            api_key=os.environ.get("SECONDPASS_API_KEY"),
            max_requests=max_requests,
            max_documents=max_documents,
            max_body_bytes=int(max_body_mb * 1_000_000),
            version=installed_version("secondpass") or "0",
        )
        check_host(host, settings)
        reranker = open_reranker(
            command_config(
                config,
                model={"name": model, "engine": engine, "device": device},
                selection={"top_k": top_k, "duplicates": duplicates or (None if config else "keep")},
                max_tokens=max_tokens,
                deadline_ms=deadline_ms,
            )
        )
        warm_up(reranker.scorer)
        run(reranker, settings, host=host, port=port)

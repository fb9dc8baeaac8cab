"""The server of ``secondpass serve`` as a Ray Serve application."""

import os
from typing import TYPE_CHECKING, Any

from secondpass.cluster.bulk import Workers
from secondpass.errors import ConfigurationError, MissingExtra
from secondpass.reranker import Reranker
from secondpass.selection.select import Selection

if TYPE_CHECKING:
    from ray.serve import Application


def serve_app(
    model: str = "small",
    *,
    selection: Selection | None = None,
    workers: Workers | None = None,
    most_replicas: int = 1,
    most_requests: int = 16,
    needs_key: bool = True,
) -> "Application":
    """Return a Ray Serve application with ``/rerank``, ``/health`` and ``/metrics``, for ``serve.run``.

    :param model: The model's name; each replica loads it.
    :param selection: The selection where a request states nothing else; None keeps all.
    :param workers: How many replicas there are at least, and the processors and GPUs of each.
    :param most_replicas: Ray starts further ones, up to so many, while requests wait.
    :param most_requests: Requests of a replica at once.
    :param needs_key: Whether replicas ask for the API key in their environment's ``SECONDPASS_API_KEY``.
    :raises ConfigurationError: If it is needed and not set here.
    """
    try:
        from ray import serve
    except ModuleNotFoundError as error:
        raise MissingExtra("serve_app", "ray[serve]", "ray-serve") from error

    workers = workers or Workers()
    key = os.environ.get("SECONDPASS_API_KEY") if needs_key else None
    if needs_key and not key:
        raise ConfigurationError("set an API key in SECONDPASS_API_KEY, or needs_key=False in a network of your own")

    def application() -> Any:
        from secondpass.serve import Settings, create_app

        chosen = selection or Selection(duplicates="keep")
        return create_app(Reranker(workers.scorer(model), selection=chosen), Settings(api_key=key))

    deployment = serve.deployment(
        name="secondpass",
        ray_actor_options=workers.resources(),
        max_ongoing_requests=most_requests,
        autoscaling_config={
            "min_replicas": workers.count,
            "max_replicas": max(workers.count, most_replicas),
            "target_ongoing_requests": max(1, most_requests // 2),
        },
    )
    bound: Application = deployment(serve.ingress(application)(type("Replica", (), {}))).bind()
    return bound

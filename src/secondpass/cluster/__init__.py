"""Bulk reranking and serving on a Ray cluster, or on Ray's local one (extra ``ray``)."""

from secondpass.errors import require

require("secondpass.cluster", "ray", "ray", "pyarrow")

from secondpass.cluster.bulk import Summary, Workers, rankings, rerank_dataset
from secondpass.cluster.serving import serve_app

__all__ = ["Summary", "Workers", "rankings", "rerank_dataset", "serve_app"]

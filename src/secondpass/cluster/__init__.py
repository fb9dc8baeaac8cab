"""Bulk reranking on a Ray cluster, or on Ray's local one (extra ``ray``)."""

from secondpass.errors import require

require("secondpass.cluster", "ray", "ray", "pyarrow")

from secondpass.cluster.bulk import Summary, Workers, rankings, rerank_dataset

__all__ = ["Summary", "Workers", "rankings", "rerank_dataset"]

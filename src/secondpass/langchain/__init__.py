"""LangChain integration: a document compressor, a two-stage retriever, and a ``BaseCrossEncoder``."""

from secondpass.errors import require

require("secondpass.langchain", "langchain", "langchain-core")

from secondpass.langchain.cross_encoder import CrossEncoderModel
from secondpass.langchain.rerank import SecondPassRerank
from secondpass.langchain.retriever import TwoStageRetriever

__all__ = ["CrossEncoderModel", "SecondPassRerank", "TwoStageRetriever"]

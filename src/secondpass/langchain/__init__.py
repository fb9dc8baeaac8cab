"""LangChain integration: a document compressor, a two-stage retriever, and a ``BaseCrossEncoder``."""

from secondpass.errors import require

require("secondpass.langchain", "langchain", "langchain-core")

from secondpass.langchain.cross_encoder import CrossEncoderModel
from secondpass.langchain.rerank import SecondPassRerank
from secondpass.langchain.retriever import TwoStageRetriever
from secondpass.selection.call_budget import call_budget

__all__ = ["CrossEncoderModel", "SecondPassRerank", "TwoStageRetriever", "call_budget"]

"""The LangChain door: a document compressor, a two-stage retriever, and LangChain's own cross-encoder interface."""

from importlib.util import find_spec

from secondpass.errors import MissingExtra

if find_spec("langchain_core") is None:
    raise MissingExtra("secondpass.langchain", "langchain-core", "langchain")

from secondpass.langchain.compressor import CrossEncoderCompressor
from secondpass.langchain.cross_encoder import CrossEncoderModel
from secondpass.langchain.retriever import TwoStageRetriever

__all__ = ["CrossEncoderCompressor", "CrossEncoderModel", "TwoStageRetriever"]

"""The systems that a benchmark compares: this package's models, and other rerankers on the same weights."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondpass import LoadOptions
from secondpass.errors import ConfigurationError
from secondpass.models import CASCADES, bundled_models
from secondpass.reranker import Reranker
from secondpass.scorers.load import load_scorer

Rerank = Callable[[str, Sequence[str]], list[int]]
"""From a query and its texts to their positions, best first."""
PEERS = Path(__file__).parents[2] / "build" / "bench"
_FLASHRANK = ("ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx")  # a name that it knows, and the file's


@dataclass(frozen=True, slots=True)
class Side:
    """One system with one model.

    :param name: Its name in the results.
    :param maker: The function of this module that opens it.
    :param model: A bundled name or a folder.
    :param dtype: ``"int8"`` or ``"float32"``: which arithmetic peak it is compared with.
    :param threads: CPU threads.
    """

    name: str
    maker: str
    model: str
    dtype: str
    threads: int

    def open(self) -> Rerank:
        """Load the model, and return the function that is timed.

        :raises ImportError: If its library isn't installed.
        :raises SecondpassError: If there is no model for it.
        """
        return MAKERS[self.maker](self)


def all_sides(models: Sequence[str], checkpoint: Path | None, threads: int) -> list[Side]:
    """Return every side for these models; ``open`` says which can't be compared.

    :param models: Bundled names or folders for this package; the others take the first that is a bundled model.
    :param checkpoint: A folder with float32 weights, for what runs on torch.
    :param threads: CPU threads of each.
    """
    sides = [Side(f"secondpass {Path(model).name}", "secondpass", model, _dtype(model), threads) for model in models]
    folder = next((str(bundled_models()[model]) for model in models if model in bundled_models()), "")
    sides += [Side(f"{peer}, same int8", peer.lower(), folder, "int8", threads) for peer in ("FlashRank", "fastembed")]
    torch_sides = {
        "secondpass torch": "secondpass_torch",
        "sentence-transformers predict": "sentence_transformers",
        "LlamaIndex SentenceTransformerRerank": "llama_index",
        "LangChain CrossEncoderReranker": "langchain",
    }
    return sides + [Side(name, maker, str(checkpoint or ""), "float32", threads) for name, maker in torch_sides.items()]


def _dtype(model: str) -> str:
    return "int8" if model in bundled_models() or model in CASCADES or Path(model).name == "int8" else "float32"


def _secondpass(side: Side, engine: Any = "auto") -> Rerank:
    scorer = load_scorer(side.model, engine=engine, device="cpu", options=LoadOptions(threads=side.threads))
    reranker = Reranker(scorer)

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        ranking = reranker.rerank(query, texts)
        return [item.index for item in (*ranking.kept, *ranking.dropped)]

    return rerank


def _checkpoint(side: Side) -> str:
    """Return the checkpoint's folder.

    :raises ConfigurationError: If there is none.
    """
    if not side.model:
        raise ConfigurationError("needs --checkpoint FOLDER with float32 safetensors weights")
    return side.model


def _secondpass_torch(side: Side) -> Rerank:
    _checkpoint(side)
    return _secondpass(side, "torch")


def _sentence_transformers(side: Side) -> Rerank:
    import torch
    from sentence_transformers import CrossEncoder

    folder = _checkpoint(side)
    torch.set_num_threads(side.threads)
    model = CrossEncoder(folder, device="cpu", max_length=512)

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        return _order(model.predict([(query, text) for text in texts], show_progress_bar=False).tolist())

    return rerank


def _llama_index(side: Side) -> Rerank:
    from llama_index.core.postprocessor import SentenceTransformerRerank
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    model = SentenceTransformerRerank(model=_checkpoint(side), top_n=100_000, device="cpu", trust_remote_code=False)

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.0) for i, text in enumerate(texts)]
        return [int(node.node.node_id) for node in model.postprocess_nodes(nodes, QueryBundle(query))]

    return rerank


def _langchain(side: Side) -> Rerank:
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder
    from langchain_core.documents import Document

    model = HuggingFaceCrossEncoder(model_name=_checkpoint(side), model_kwargs={"device": "cpu"})
    reranker = CrossEncoderReranker(model=model, top_n=100_000)

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        documents = [Document(text, metadata={"position": i}) for i, text in enumerate(texts)]
        return [document.metadata["position"] for document in reranker.compress_documents(documents, query)]

    return rerank


def _peer_folder(side: Side) -> Path:
    """Return a copy of the bundled model's folder with the files that the peers look for.

    :raises ConfigurationError: If no bundled model is compared.
    """
    if not side.model:
        raise ConfigurationError("needs a bundled model among --models")
    folder = PEERS / Path(side.model).name / _FLASHRANK[0]
    shutil.copytree(side.model, folder, dirs_exist_ok=True)
    shutil.copy(folder / "model.onnx", folder / _FLASHRANK[1])
    (folder / "special_tokens_map.json").write_text("{}", "utf-8")
    declared = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0} | declared), "utf-8")
    declared = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    defaults = {"pad_token": "[PAD]", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(defaults | declared), "utf-8")
    return folder


def _flashrank(side: Side) -> Rerank:
    from flashrank import Ranker, RerankRequest

    folder = _peer_folder(side)
    ranker = Ranker(model_name=folder.name, cache_dir=str(folder.parent), max_length=512)

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        passages = [{"id": i, "text": text} for i, text in enumerate(texts)]
        return [item["id"] for item in ranker.rerank(RerankRequest(query=query, passages=passages))]

    return rerank


def _fastembed(side: Side) -> Rerank:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model("bench", sources=ModelSource(hf="bench"), model_file="model.onnx")
    model = TextCrossEncoder("bench", threads=side.threads, specific_model_path=str(_peer_folder(side)))

    def rerank(query: str, texts: Sequence[str]) -> list[int]:
        return _order(list(model.rerank(query, list(texts))))

    return rerank


def _order(scores: Sequence[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda position: -scores[position])


MAKERS: dict[str, Callable[[Side], Rerank]] = {
    "secondpass": _secondpass,
    "secondpass_torch": _secondpass_torch,
    "sentence_transformers": _sentence_transformers,
    "llama_index": _llama_index,
    "langchain": _langchain,
    "flashrank": _flashrank,
    "fastembed": _fastembed,
}

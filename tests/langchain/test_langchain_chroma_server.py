"""The two-stage retriever over Chroma's client-server mode: a real Chroma server in its own process."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_support import WordEmbeddings, ids

from secondpass import OverlapScorer, WeightedSum
from secondpass.langchain import SecondPassRerank, TwoStageRetriever

DOCUMENTS = [
    Document("a flea lives for two months", id="life", metadata={"kind": "insect"}),
    Document("a flea jumps two hundred times its length", id="jump", metadata={"kind": "insect"}),
    Document("the market opens at nine", id="market", metadata={"kind": "place"}),
    Document("how long does a cat live", id="cat", metadata={"kind": "mammal"}),
]
QUERY = "how long does a flea live"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a client of a Chroma server."""
    command = Path(sys.executable).with_name("chroma")
    if not command.is_file():
        pytest.skip("chromadb's command isn't installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("chroma")
    arguments = [command, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield _connected(server, port)
        finally:
            server.terminate()


def _connected(server: "subprocess.Popen[bytes]", port: int) -> Any:
    until = time.monotonic() + 60
    while server.poll() is None:
        try:
            return chromadb.HttpClient(host="127.0.0.1", port=port)
        except ValueError:  # chromadb's error for no connection
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    pytest.fail(f"the Chroma server ended with {server.returncode}")


def retriever(client: Any, space: str, **settings: Any) -> TwoStageRetriever:
    store = Chroma(
        f"server-{space}", WordEmbeddings(), client=client, collection_configuration={"hnsw": {"space": space}}
    )
    store.add_documents(DOCUMENTS)
    compressor = SecondPassRerank(model=OverlapScorer(), **settings)
    return TwoStageRetriever(vectorstore=store, compressor=compressor, fetch_k=4)


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_a_server_gives_what_the_library_gives(client: Any, space: str, tmp_path: Path) -> None:
    """Ids, order, first-stage scores and fused values are those of Chroma in this process."""
    here, there = (
        retriever(source, space, fusion=WeightedSum(alpha=0.5), top_n=3).invoke(QUERY)
        for source in (chromadb.PersistentClient(tmp_path), client)
    )
    assert ids(there) == ids(here)
    assert len(there) == 3
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.metadata["secondpass"]["first_stage_score"] == pytest.approx(
            ours.metadata["secondpass"]["first_stage_score"], abs=1e-5
        )
        assert theirs.metadata["relevance_score"] == pytest.approx(ours.metadata["relevance_score"])


async def test_asynchronous_retrieval_and_filters(client: Any) -> None:
    """The store's search arguments reach the server, and ``ainvoke`` gives what ``invoke`` gives."""
    found = retriever(client, "cosine", top_n=4)
    assert ids(await found.ainvoke(QUERY)) == ids(found.invoke(QUERY))
    found.search_kwargs = {"filter": {"kind": "insect"}}
    assert set(ids(found.invoke(QUERY))) == {"life", "jump"}

"""The demo's index: real Chroma on disk, with a small embedder in place of the bi-encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secondpass.errors import ConfigurationError

pytest.importorskip("chromadb", reason="the extra demo isn't installed")
from secondpass.cli.demo.index import PassageIndex, Report, collection_name

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PASSAGES = {"t#1": "apples and pears", "t#2": "zebra zoo", "t#3": "quick quiz", "t#4": "pears"}


class LetterEmbedder:
    """Counts letters: deterministic, and like enough to an embedding."""

    def __init__(self, fingerprint: str = "letters-1") -> None:
        self.fingerprint = fingerprint
        self.passages_embedded = 0

    def embed_query(self, question: str) -> NDArray[Any]:
        counts = np.array([question.count(letter) for letter in LETTERS], dtype=np.float32)
        return counts / np.linalg.norm(counts)

    def embed_passages(self, texts: Sequence[str], report: Report) -> NDArray[Any]:
        self.passages_embedded += len(texts)
        report(len(texts), len(texts))
        return np.stack([self.embed_query(text) for text in texts])


def silent(done: int, total: int) -> None:
    """Take a report and do nothing."""


def test_search_returns_candidates_nearest_first(tmp_path: Path) -> None:
    """Candidates carry id, text, cosine, rank and source, best first, and never more than there are."""
    embedder = LetterEmbedder()
    index = PassageIndex(tmp_path, PASSAGES, embedder, silent)
    query = embedder.embed_query("zebra zoo")
    found = index.search(query, limit=100)
    assert [candidate.rank for candidate in found] == [1, 2, 3, 4]
    assert found[0].id == "t#2"
    assert found[0].text == PASSAGES["t#2"]
    assert found[0].source == "chroma"
    cosines = embedder.embed_passages([candidate.text for candidate in found], silent) @ query
    assert [candidate.score for candidate in found] == pytest.approx(cosines.tolist(), abs=1e-5)
    assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)
    assert len(index.search(query, limit=2)) == 2


def test_second_opening_reuses_the_index(tmp_path: Path) -> None:
    """Nothing is embedded twice."""
    embedder = LetterEmbedder()
    assert not PassageIndex(tmp_path, PASSAGES, embedder, silent).reused
    again = PassageIndex(tmp_path, PASSAGES, embedder, silent)
    assert again.reused
    assert embedder.passages_embedded == len(PASSAGES)
    assert again.search(embedder.embed_query("zoo"), 1)[0].id == "t#2"


@pytest.mark.parametrize("what", ["corpus", "embedder"])
def test_change_builds_another_index(tmp_path: Path, what: str) -> None:
    """Another corpus, or another bi-encoder, never uses vectors that were made for the old one."""
    PassageIndex(tmp_path, PASSAGES, LetterEmbedder(), silent)
    passages = {"t#1": "apples and pears"} if what == "corpus" else PASSAGES
    other = LetterEmbedder("letters-2" if what == "embedder" else "letters-1")
    index = PassageIndex(tmp_path, passages, other, silent)
    assert other.passages_embedded == len(passages)
    assert len(index.search(other.embed_query("pears"), 100)) == len(passages)


def test_interrupted_build_is_built_anew(tmp_path: Path) -> None:
    """A collection that lacks passages isn't trusted."""
    embedder = LetterEmbedder()
    first = PassageIndex(tmp_path, PASSAGES, embedder, silent)
    first._collection.delete(ids=["t#2"])
    second = PassageIndex(tmp_path, PASSAGES, embedder, silent)
    assert not second.reused
    assert second.search(embedder.embed_query("zoo"), 1)[0].id == "t#2"


def test_build_interrupted_while_embedding_leaves_nothing(tmp_path: Path) -> None:
    """A user who gives up while passages are embedded finds the next run as if it were the first."""

    def give_up(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PassageIndex(tmp_path, PASSAGES, LetterEmbedder(), give_up)
    assert not PassageIndex(tmp_path, PASSAGES, LetterEmbedder(), silent).reused


def test_damaged_store_says_which_folder_to_delete(tmp_path: Path) -> None:
    """A store that Chroma can't open is a typed error with a way out."""
    (tmp_path / "chroma.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigurationError, match="delete that folder"):
        PassageIndex(tmp_path, PASSAGES, LetterEmbedder(), silent)


def test_folder_that_is_a_file_is_a_typed_error(tmp_path: Path) -> None:
    """A cache that can't be used as a folder is said in words."""
    (tmp_path / "index").write_text("")
    with pytest.raises(ConfigurationError, match="can't be used"):
        PassageIndex(tmp_path / "index", PASSAGES, LetterEmbedder(), silent)


def test_collection_name_is_one_that_chroma_takes() -> None:
    """The name holds Python's version and stays within Chroma's limits."""
    name = collection_name(PASSAGES, LetterEmbedder())
    assert name.startswith("python-3")
    assert len(name) <= 63

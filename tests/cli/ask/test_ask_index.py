"""The index of ``ask``: real Chroma on disk, with a small embedder in place of the bi-encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secondpass.errors import ConfigurationError

pytest.importorskip("typer", reason="the extra cli isn't installed")
pytest.importorskip("chromadb", reason="the extra cli isn't installed")
from secondpass.cli.ask import index as index_module
from secondpass.cli.ask.index import Index

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PASSAGES = {"t#1": "apples and pears", "t#2": "zebra zoo", "u#1": "quick quiz", "u#2": "pears"}


class LetterEmbedder:
    """Counts letters: deterministic, and like enough to an embedding."""

    def __init__(self, fingerprint: str = "letters-1") -> None:
        self.fingerprint = fingerprint
        self.embedded: list[str] = []

    def embed_query(self, question: str) -> NDArray[Any]:
        counts = np.array([question.count(letter) for letter in LETTERS], dtype=np.float32)
        return counts / np.linalg.norm(counts)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[Any]:
        self.embedded += texts
        return np.stack([self.embed_query(text) for text in texts])


def silent(done: int, total: int) -> None:
    """Take a report and do nothing."""


def test_search_returns_candidates_nearest_first(tmp_path: Path) -> None:
    """Candidates carry id, text, cosine, rank and source, best first, and never more than there are."""
    embedder = LetterEmbedder()
    index = Index(tmp_path, "corpus", embedder)
    assert index.update(PASSAGES, silent) == 4
    found = index.search("zebra zoo", limit=100)
    assert [candidate.rank for candidate in found] == [1, 2, 3, 4]
    assert (found[0].id, found[0].text, found[0].source) == ("t#2", PASSAGES["t#2"], "t")
    cosines = embedder.embed_passages([candidate.text for candidate in found]) @ embedder.embed_query("zebra zoo")
    assert [candidate.score for candidate in found] == pytest.approx(cosines.tolist(), abs=1e-5)
    assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)
    assert len(index.search("zebra zoo", limit=2)) == 2


def test_an_update_embeds_what_changed_and_removes_what_is_gone(tmp_path: Path) -> None:
    """A second opening embeds nothing twice."""
    Index(tmp_path, "corpus", LetterEmbedder()).update(PASSAGES, silent)
    embedder = LetterEmbedder()
    again = Index(tmp_path, "corpus", embedder)
    assert again.update(PASSAGES, silent) == 0
    changed = {"t#1": "apples and plums", "t#2": "zebra zoo", "v#1": "new"}
    assert again.update(changed, silent) == 2
    assert embedder.embedded == ["apples and plums", "new"]
    assert {found.id: found.text for found in again.search("zoo", 100)} == changed


@pytest.mark.parametrize("what", ["corpus", "embedder"])
def test_another_corpus_or_bi_encoder_has_an_index_of_its_own(tmp_path: Path, what: str) -> None:
    """Vectors of another bi-encoder, or passages of another corpus, are never found."""
    Index(tmp_path, "corpus", LetterEmbedder()).update(PASSAGES, silent)
    other = LetterEmbedder("letters-2" if what == "embedder" else "letters-1")
    index = Index(tmp_path, "another" if what == "corpus" else "corpus", other)
    assert index.update({"t#1": "apples and pears"}, silent) == 1
    assert [found.id for found in index.search("pears", 100)] == ["t#1"]


def test_an_interrupted_update_is_completed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before a user gave up stays, and only the rest is embedded."""
    monkeypatch.setattr(index_module, "_GROUP", 1)

    def give_up(done: int, total: int) -> None:
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index(tmp_path, "corpus", LetterEmbedder()).update(PASSAGES, give_up)
    embedder = LetterEmbedder()
    index = Index(tmp_path, "corpus", embedder)
    assert index.update(PASSAGES, silent) == 2
    assert embedder.embedded == ["quick quiz", "pears"]
    assert len(index.search("zoo", 100)) == 4


def test_damaged_store_says_which_folder_to_delete(tmp_path: Path) -> None:
    """A store that Chroma can't open is a typed error with a way out."""
    (tmp_path / "chroma.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigurationError, match="delete that folder"):
        Index(tmp_path, "corpus", LetterEmbedder())


def test_folder_that_is_a_file_is_a_typed_error(tmp_path: Path) -> None:
    """A cache that can't be used as a folder is said in words."""
    (tmp_path / "index").write_text("")
    with pytest.raises(ConfigurationError, match="can't be used"):
        Index(tmp_path / "index", "corpus", LetterEmbedder())

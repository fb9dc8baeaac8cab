"""The corpus's output: groups as lines, and a manifest that tells where every one of them comes from."""

import hashlib
import json
from argparse import Namespace
from pathlib import Path

import pytest
from corpus_worlds import assets as made_up_assets
from corpus_worlds import prose

from recipes.corpus.gather import Gathered, _add_datasets
from recipes.corpus.manifest import counts, file_record
from recipes.corpus.output import write
from recipes.corpus.packages import Deb
from recipes.corpus.records import Group
from secondpass.training import read_groups

POOL = prose(6)
TEXTS = tuple(passage.text for passage in POOL)
WRITTEN = {
    "train": [
        Group("t00000", "où is it", TEXTS[:3], "xquad", (0, 1, 0)),
        Group("t00001", "what", TEXTS[3:], "git-doc"),
    ],
    "validation": [Group("v00000", "who", TEXTS[:2], "git-doc")],
}


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a small corpus out of made-up data sets and a package."""
    folder = made_up_assets(tmp_path / "assets")
    gathered = Gathered()
    _add_datasets(gathered, Namespace(assets=folder, seed=1, with_research=True))
    monkeypatch.setattr(Deb, "licences", lambda deb: ["GPL-2"])
    gathered.add_deb(Deb("git-doc", "1:2.39", "doc", "ab" * 32, tmp_path / "git-doc.deb"), "GPL-2", POOL)
    write(tmp_path / "out", WRITTEN, gathered.records, POOL, {"seed": 1})
    return tmp_path / "out"


def manifest(out: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return read


def test_manifest_holds_the_checksums_of_what_was_written(out: Path) -> None:
    """Each file of the corpus stands in the manifest with its sha256."""
    files = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("train.jsonl", "validation.jsonl")
    }
    assert manifest(out)["files"] == [{"file": name, "sha256": digest} for name, digest in files.items()]


def test_manifest_names_each_source_with_licence_and_checksums(out: Path) -> None:
    """Every source stands there with its licence and a checksum of each file or of its package."""
    sources = manifest(out)["sources"]
    assert isinstance(sources, list)
    assert len(sources) == 5
    for source in sources:
        assert source["licence"]
        digests = [file["sha256"] for file in source["files"]] if "files" in source else [source["sha256"]]
        assert digests
        assert all(len(digest) == 64 for digest in digests)
    assert sources[-1]["package"] == "git-doc"
    assert sources[-1]["declared in debian/copyright"] == ["GPL-2"]
    assert sources[-1]["passages"] == len(POOL)


def test_manifest_holds_no_absolute_path(out: Path, tmp_path: Path) -> None:
    """Nothing in the manifest tells where the files lay: two folders give the same manifest."""
    text = (out / "manifest.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    files = [file["file"] for source in json.loads(text)["sources"] for file in source.get("files", ())]
    assert files
    assert all(file.startswith("data/") for file in files)


def test_manifest_counts_what_was_written(out: Path) -> None:
    """The manifest tells settings, library versions, groups, pairs and labelled groups by part and source."""
    read = manifest(out)
    assert read["seed"] == 1
    assert read["train"] == counts(WRITTEN["train"])
    expected = {"groups": 2, "pairs": 6, "labelled groups": 1, "groups by source": {"git-doc": 1, "xquad": 1}}
    assert read["train"] == expected
    assert read["passages in the pool"] == {"anarchism": 2, "git-doc": 2, "xquad": 2}
    assert isinstance(read["libraries"], dict)
    assert all(read["libraries"].values())


def test_training_reads_what_was_written(out: Path) -> None:
    """The lines are what distillation takes: queries, texts, and labels where there are any."""
    groups = read_groups(out / "train.jsonl")
    assert [(group.query, tuple(group.texts)) for group in groups] == [(g.query, g.texts) for g in WRITTEN["train"]]


def test_folder_that_was_not_finished_has_no_manifest(out: Path) -> None:
    """A run that stops while it writes leaves no manifest behind, not even that of the run before."""
    broken = Group("t", "what", ("\ud800",), "git-doc")
    with pytest.raises(UnicodeEncodeError):
        write(out, {"train": [broken]}, [], POOL, {})
    assert not (out / "manifest.json").exists()


def test_file_is_named_under_its_root(tmp_path: Path) -> None:
    """A record tells a file's name under its root, in one way on every system."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_bytes(b"heron")
    found = file_record(tmp_path / "a" / "b.txt", tmp_path)
    assert found == {"file": "a/b.txt", "sha256": hashlib.sha256(b"heron").hexdigest()}

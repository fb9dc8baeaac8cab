"""The fingerprint of a scorer: everything that decides a score, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondpass import LoadOptions, load_scorer
from secondpass.errors import ModelError
from secondpass.models.content import content_hash

Tiny = Callable[..., Path]


def fingerprint(folder: Path, options: LoadOptions | None = None) -> str:
    return load_scorer(str(folder), options=options or LoadOptions()).spec.fingerprint


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_folder_does_not_count(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """A copy of a model in another folder has the same fingerprint."""
    copy = shutil.copytree(tiny(engine), tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(tiny(engine))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_tokenizer_counts(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """The same weights with another vocabulary give other scores, and have another fingerprint."""
    folder = shutil.copytree(tiny(engine), tmp_path / "other")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert fingerprint(folder) != fingerprint(tiny(engine))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_vocabulary_beside_the_tokenizer_counts(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """The engines hash the folder, not a list of files."""
    folder = shutil.copytree(tiny(engine), tmp_path / "other")
    (folder / "vocab.txt").write_text("cat")
    assert fingerprint(folder) != fingerprint(tiny(engine))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_positive_label_counts(tiny: Tiny, engine: str) -> None:
    """Models with other positive labels have other fingerprints."""
    folder = tiny(engine, num_labels=2)
    assert fingerprint(folder, LoadOptions(label=0)) != fingerprint(folder, LoadOptions(label=1))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_batch_limits_do_not_count(tiny: Tiny, engine: str) -> None:
    """Batch limits don't change the fingerprint."""
    assert fingerprint(tiny(engine), LoadOptions(batch_size=1)) == fingerprint(tiny(engine))


def test_external_weights_count(tiny: Tiny, tmp_path: Path) -> None:
    """The weights that an ONNX file keeps in a second file are part of the fingerprint."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    prints = []
    for name, factor in (("one", 1.0), ("other", 2.0)):
        folder = shutil.copytree(tiny("onnx"), tmp_path / name)
        model = onnx.load(folder / "model.onnx")
        linear = next(item for item in model.graph.initializer if item.name == "linear")
        linear.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(linear) * factor, "linear"))
        onnx.save(
            model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=64
        )
        prints.append(fingerprint(folder))
    assert prints[0] != prints[1]


def small_folder(folder: Path) -> Path:
    """Write what an engine of graphs and one of checkpoints read, without valid content."""
    for name in ("model.onnx", "model.onnx_data", "model.safetensors", "config.json", "vocab.txt", "1_Dense/data.npy"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def hashes(folder: Path, *, code: bool = False) -> dict[str, str]:
    """Return the content hash for an engine of graphs and for one of checkpoints."""
    graphs = {folder / "model.onnx", folder / "model.onnx_data"}
    return {"onnx": content_hash(folder, graphs), "torch": content_hash(folder, code=code)}


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("vocab.txt", {"onnx", "torch"}),
        ("1_Dense/data.npy", {"onnx", "torch"}),
        ("new/merges.txt", {"onnx", "torch"}),
        ("config.json", {"onnx", "torch"}),
        ("2_Dense/pytorch_model.bin", {"torch"}),
        ("model.safetensors", {"torch"}),
        ("model.onnx", {"onnx"}),
        ("model.onnx_data", {"onnx"}),
        ("onnx/other.onnx", set()),
        ("onnx/other.onnx_data", set()),
        ("modeling.py", set()),
        ("README.md", set()),
        ("LICENSE", set()),
        ("calibration.json", set()),
        ("answerability.json", set()),
        ("manifest.json", set()),
        (".gitattributes", set()),
        (".cache/huggingface/download.lock", set()),
        (".hidden/config.json", {"onnx", "torch"}),
        ("README-00001.safetensors", {"torch"}),
        ("plot.png", set()),
    ],
)
def test_what_an_engine_reads_counts(file: str, counts: set[str], tmp_path: Path) -> None:
    """Every file that can decide a score counts for the engine that reads it; records and cards don't."""
    folder = small_folder(tmp_path)
    before = hashes(folder)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("changed")
    after = hashes(folder)
    assert {engine for engine in before if before[engine] != after[engine]} == counts


def test_trusted_code_counts(tmp_path: Path) -> None:
    """Python code that may run decides scores."""
    folder = small_folder(tmp_path)
    before = hashes(folder, code=True)
    (folder / "modeling.py").write_text("changed")
    assert hashes(folder, code=True)["torch"] != before["torch"]


def test_contents_that_change_places_count(tmp_path: Path) -> None:
    """A file's name decides what it is read as."""
    folder = small_folder(tmp_path)
    before = hashes(folder)
    (folder / "vocab.txt").write_text("config.json")
    (folder / "config.json").write_text("vocab.txt")
    assert hashes(folder)["onnx"] != before["onnx"]


def test_links_are_followed(tmp_path: Path) -> None:
    """A snapshot of links, to files as the hub has it or to folders, has the hash of what they lead to."""
    folder = small_folder(tmp_path / "model")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for item in folder.iterdir():
        (snapshot / item.name).symlink_to(item)
    (snapshot / "loop").symlink_to(snapshot)
    (snapshot / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert hashes(snapshot) == hashes(folder)


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be read is named."""
    folder = small_folder(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    with pytest.raises(ModelError, match=r"must be readable, and .*1_Dense/data.npy isn't: Permission denied"):
        content_hash(folder)

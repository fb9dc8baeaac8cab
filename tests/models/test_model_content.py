"""A model's folder: no code of its own runs unasked, pinned weights are all weights."""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from secondpass import LoadOptions, load_scorer
from secondpass.errors import ModelError
from secondpass.models.content import check_no_code
from secondpass.models.files import ModelFolder, find_model
from secondpass.models.hub import HubAccess

Tiny = Callable[..., Path]
CODE = """
from pathlib import Path

import sentence_transformers.base.modules as modules

Path({mark!r}).touch()


class Odd(modules.Transformer):
    pass
"""


def with_module(folder: Path, mark: Path, kind: str) -> Path:
    """Write a module list whose first type is in the folder's own file."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": kind}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "CrossEncoder"}))
    (folder / "odd.py").write_text(CODE.format(mark=str(mark)))
    return folder


def changed(folder: Path, file: str, content: Any) -> Path:
    """Write a settings file, merged into the one that is there."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(before | content if isinstance(content, dict) else content))
    return folder


@pytest.mark.parametrize("layout", ["folder", "hub"])
def test_a_folders_own_module_never_runs_unasked(tiny: Tiny, tmp_path: Path, layout: str) -> None:
    """A module type in the folder's own Python file is refused before it is imported, in a hub's snapshot too."""
    mark = tmp_path / "ran"
    folder = with_module(Path(shutil.copytree(tiny("torch"), tmp_path / "model")), mark, "odd.Odd")
    if layout == "hub":
        snapshot = tmp_path / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        for file in folder.iterdir():
            (snapshot / file.name).symlink_to(file)
        folder = snapshot
    with pytest.raises(ModelError, match=r"modules.json has type: 'odd.Odd'\), which never runs unasked"):
        load_scorer(folder, engine="torch", device="cpu")
    assert not mark.exists()


def test_the_check_does_not_depend_on_the_library(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a library that trusts local folders, as sentence-transformers 5 does, the code doesn't run either."""
    pytest.importorskip("sentence_transformers", reason="the extra torch isn't installed")
    from sentence_transformers import util

    mark = tmp_path / "ran"
    folder = with_module(Path(shutil.copytree(tiny("torch"), tmp_path / "model")), mark, "odd.Odd")
    monkeypatch.syspath_prepend(str(folder))
    trusting = util.import_from_string
    for module in ("sentence_transformers.base.model", "sentence_transformers.util.misc"):
        monkeypatch.setattr(f"{module}.import_module_class", lambda ref, *_, **__: trusting(ref))
    with pytest.raises(ModelError, match="never runs unasked"):
        load_scorer(folder, engine="torch", device="cpu")
    assert not mark.exists()
    with suppress(ModelError):  # its class gives no scores
        load_scorer(folder, engine="torch", device="cpu", options=LoadOptions(trust_remote_code=True))
    assert mark.exists()


def test_training_and_export_never_run_a_folders_code(tiny: Tiny, tmp_path: Path) -> None:
    """A checkpoint that is opened for training or export is checked alike."""
    checkpoint = pytest.importorskip("secondpass.optimize.checkpoint", reason="the extra train isn't installed")
    mark = tmp_path / "ran"
    folder = with_module(Path(shutil.copytree(tiny("torch"), tmp_path / "model")), mark, "odd.Odd")
    with pytest.raises(ModelError, match="never runs unasked"):
        checkpoint.open_model(ModelFolder(folder))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "odd.Config"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "other/repo--odd.Model"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["odd.Tokenizer", None]}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "odd.Processor"}}),
        ("config.json", {"sentence_transformers": {"activation_fn": "odd.Activation"}}),
        ("config.json", {"sbert_ce_default_activation_function": "torch.hub.load"}),
        ("config_sentence_transformers.json", {"activation_fn": "odd.Activation"}),
        ("2_Dense/config.json", {"activation_function": "odd.Activation"}),
        ("modules.json", [{"type": "sentence_transformers.base.modules.Transformer"}, {"type": "torch.hub.load"}]),
        ("modules.json", [{"type": "sentence_transformers.base.modules.Dense", "path": "../elsewhere"}]),
        (".hidden/config.json", {"activation_function": "odd.Activation"}),
        ("router_config.json", {"types": {"query_0": "odd.Odd"}}),
        ("sentence_bert_config.json", {"model_args": {"trust_remote_code": True}}),
        ("sentence_bert_config.json", {"model_kwargs": {"allow_all_kernels": True}}),
        ("config.json", {"attn_implementation": "somebody/kernel"}),
        ("config.json", {"attn_implementation": {"text_config": "somebody/kernel"}}),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, str) else value,
)
def test_settings_that_ask_for_code_are_refused(file: str, content: Any, tmp_path: Path) -> None:
    """Whatever file names a class outside of the libraries, or compiled code on the hub, the model isn't opened."""
    folder = changed(tmp_path, file, content)
    with pytest.raises(ModelError, match=rf"{file} has .*LoadOptions\(trust_remote_code=True\)"):
        check_no_code("odd", ModelFolder(folder))


def test_settings_of_usual_models_are_not_refused(tmp_path: Path) -> None:
    """Classes of torch and sentence-transformers, names of activations and vocabularies are no code."""
    changed(tmp_path, "config.json", {"hidden_act": "gelu", "activation": "gelu", "auto_map": None, "type": "a.b"})
    changed(tmp_path, "config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.linear.Identity"})
    changed(tmp_path, "modules.json", [{"type": "sentence_transformers.models.Transformer", "path": "0_T.x"}])
    changed(tmp_path, "vocab.json", {"auto_map": 7, "trust_remote_code": 8})
    (tmp_path / "broken.json").write_text("{")
    check_no_code("usual", ModelFolder(tmp_path))


def test_settings_that_hide_by_their_depth_are_refused(tmp_path: Path) -> None:
    """What can't be read to its end isn't trusted."""
    (tmp_path / "config.json").write_text('{"a": ' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(ModelError, match="nested too deeply"):
        check_no_code("deep", ModelFolder(tmp_path))


@pytest.mark.parametrize("code", [False, True])
def test_python_files_are_fetched_for_trusted_models_alone(
    code: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What nobody asked to run isn't downloaded either."""
    asked: list[str] = []

    def fetch(_model: str, patterns: list[str], _hub: HubAccess) -> Path:
        asked.extend(patterns)
        return tmp_path

    monkeypatch.setattr("secondpass.models.files.fetch", fetch)
    find_model("owner/name", "torch", HubAccess(code=code))
    assert ("*.py" in asked) is code


# Pinned weights


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(("engine", "file"), [("onnx", "model.onnx"), ("torch", "model.safetensors")])
def test_pinned_weights_load_and_others_are_refused(tiny: Tiny, engine: str, file: str) -> None:
    """A model loads with the hash of its file, and with another one it doesn't."""
    right = LoadOptions(sha256=sha256(tiny(engine) / file).upper())
    assert load_scorer(tiny(engine), device="cpu", options=right).spec.name
    with pytest.raises(ModelError, match=f"{file} must have the SHA-256 0000"):
        load_scorer(tiny(engine), device="cpu", options=LoadOptions(sha256="0000"))


def test_a_graph_with_weights_in_a_second_file_can_not_be_pinned(tiny: Tiny, tmp_path: Path) -> None:
    """The hash of the graph says nothing about weights outside of it, which anybody could alter."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    folder = Path(shutil.copytree(tiny("onnx"), tmp_path / "model"))
    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=64)
    load_scorer(folder)
    with pytest.raises(ModelError, match="sha256 needs a model whose weights are in one file"):
        load_scorer(folder, options=LoadOptions(sha256=sha256(folder / "model.onnx")))


@pytest.mark.parametrize("other", ["adapter_config.json", "2_Dense/pytorch_model.bin", "2_Dense/model.safetensors"])
def test_a_checkpoint_with_weights_elsewhere_can_not_be_pinned(tiny: Tiny, tmp_path: Path, other: str) -> None:
    """An adapter's base, or a module's own weights, aren't in the file that is pinned."""
    folder = Path(shutil.copytree(tiny("torch"), tmp_path / "model"))
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("{}")
    options = LoadOptions(sha256=sha256(folder / "model.safetensors"))
    with pytest.raises(ModelError, match="sha256 needs a model whose weights are in one file"):
        load_scorer(folder, engine="torch", device="cpu", options=options)

"""From a name to a scorer, and what is said where that can't be."""

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondpass import load_scorer
from secondpass.errors import ConfigurationError, DeviceError, MissingExtra, ModelError, ModelNotFound
from secondpass.scoring import registry

Tiny = Callable[..., Path]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Pretend that a package isn't installed."""

    def hide(package: str) -> None:
        def found(name: str) -> object:
            return None if name == package else importlib.util.find_spec(name)

        monkeypatch.setattr(registry, "find_spec", found)

    return hide


def test_the_engine_follows_from_what_the_folder_holds(tiny: Tiny) -> None:
    """An ONNX file goes to ONNX Runtime, safetensors go to torch."""
    reprs = [repr(load_scorer(str(tiny(engine)))) for engine in ("onnx", "torch")]
    assert [", onnx, " in reprs[0], ", torch, " in reprs[1]] == [True, True]


def test_with_both_forms_a_processor_takes_onnx(tiny: Tiny, tmp_path: Path) -> None:
    """A folder with both forms is opened with ONNX Runtime on a CPU, and with torch where that is asked for."""
    shutil.copytree(tiny("torch"), tmp_path / "both")
    shutil.copy(tiny("onnx") / "model.onnx", tmp_path / "both")
    folder = str(tmp_path / "both")
    assert ", onnx, " in repr(load_scorer(folder, device="cpu"))
    assert ", torch, " in repr(load_scorer(folder, engine="torch"))


@pytest.mark.parametrize("name", ["no/such/folder/here", "./nope", "~/nope", "a b", "owner/name/more"])
def test_a_path_that_is_not_there_is_said_so(name: str) -> None:
    """A path that doesn't exist is an error without a question to any hub."""
    with pytest.raises(ModelNotFound, match="is none of these"):
        load_scorer(name)


@pytest.mark.parametrize("name", ["", "  ", None, 7])
def test_a_name_must_be_one(name: object) -> None:
    """What is no name at all is refused with what came."""
    with pytest.raises(ConfigurationError, match="model must be a bundled model, a folder or a hub id"):
        load_scorer(name)  # type: ignore[arg-type]


def test_a_folder_without_weights_says_what_must_be_in_it(tmp_path: Path) -> None:
    """An empty folder is an error that lists what a model's folder holds."""
    with pytest.raises(ModelError, match="it is empty"):
        load_scorer(str(tmp_path))


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_pickles_are_never_opened(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """A checkpoint that is pickled only is refused by name, whatever the engine."""
    shutil.copytree(tiny("torch"), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin.*never opened"):
        load_scorer(str(tmp_path / "pickled"), engine=engine)  # type: ignore[arg-type]


def test_a_missing_extra_prints_its_install_line(tiny: Tiny, without: Callable[[str], None]) -> None:
    """Without sentence-transformers the torch engine says how to get it, and nothing was imported."""
    without("sentence_transformers")
    with pytest.raises(MissingExtra, match=r'pip install "secondpass\[torch\]"'):
        load_scorer(str(tiny("torch")))


def test_an_unknown_engine_is_refused(tiny: Tiny) -> None:
    """An engine's name that isn't one is answered with those that are."""
    with pytest.raises(ConfigurationError, match="auto, onnx or torch"):
        load_scorer(str(tiny("onnx")), engine="jax")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_device_that_is_not_there_is_refused(tiny: Tiny, engine: str) -> None:
    """A card that this machine lacks is an error that names what there is."""
    with pytest.raises(DeviceError, match="cuda:7"):
        load_scorer(str(tiny(engine)), device="cuda:7")


def test_a_dtype_that_the_graph_is_not_in_is_refused(tiny: Tiny) -> None:
    """An ONNX graph computes in what it was exported in, and another dtype is an error."""
    with pytest.raises(DeviceError, match="computes in float32"):
        load_scorer(str(tiny("onnx")), dtype="float16")


def test_a_damaged_graph_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A file that isn't an ONNX model is an error with its name, not a crash."""
    shutil.copytree(tiny("onnx"), tmp_path / "damaged")
    (tmp_path / "damaged" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_scorer(str(tmp_path / "damaged"))


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_a_damaged_file_beside_the_weights_is_refused(tiny: Tiny, tmp_path: Path, file: str) -> None:
    """A broken tokenizer or configuration is an error that names the file."""
    shutil.copytree(tiny("onnx"), tmp_path / "damaged")
    (tmp_path / "damaged" / file).write_text("{")
    with pytest.raises(ModelError, match=file):
        load_scorer(str(tmp_path / "damaged"))


@pytest.mark.parametrize("name", list(registry.ENGINES))
def test_the_install_line_names_an_extra_that_there_is(tiny: Tiny, without: Callable[[str], None], name: str) -> None:
    """The extra that a missing engine asks for is one that the package declares, or the package itself."""
    without(registry.ENGINES[name].package.replace("-", "_"))
    with pytest.raises(MissingExtra) as caught:
        load_scorer(str(tiny(name)), engine=name)  # type: ignore[arg-type]
    declared = importlib.metadata.metadata("secondpass").get_all("Provides-Extra") or []
    assert {extra for extra in declared if f"secondpass[{extra}]" in str(caught.value)} or (
        str(caught.value).endswith("pip install secondpass")
    )


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("max_length", [65, 7])
def test_a_length_that_the_model_has_not_is_refused(tiny: Tiny, engine: str, max_length: int) -> None:
    """A length beyond the model's 64 positions, or too short for any pair, is an error with the range."""
    with pytest.raises(ModelError, match=f"max_length must be from 8 to 64 tokens, got {max_length}"):
        load_scorer(str(tiny(engine)), max_length=max_length)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_shorter_length_is_kept(tiny: Tiny, engine: str) -> None:
    """A length below the model's own truncates there, and the scorer says so."""
    assert load_scorer(str(tiny(engine)), max_length=32).spec.max_tokens == 32

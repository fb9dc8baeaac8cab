"""Loading a scorer: engine, files, device and options."""

import hashlib
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondpass import LoadOptions, load_scorer
from secondpass.errors import ConfigurationError, DeviceError, MissingExtra, ModelError, ModelNotFound
from secondpass.scorers.load import ENGINES
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.worker import WorkerSettings

Tiny = Callable[..., Path]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Pretend that a package isn't installed."""

    def hide(package: str) -> None:
        def find(name: str) -> object:
            return None if name == package else importlib.util.find_spec(name)

        monkeypatch.setattr("secondpass.errors.find_spec", find)

    return hide


def test_the_engine_follows_from_the_files(tiny: Tiny) -> None:
    """A folder with an ONNX file is opened with ONNX Runtime, one with safetensors with torch."""
    reprs = [repr(load_scorer(str(tiny(engine)))) for engine in ("onnx", "torch")]
    assert [", onnx, " in reprs[0], ", torch, " in reprs[1]] == [True, True]


def test_with_both_forms_onnx_is_used_on_a_cpu(tiny: Tiny, tmp_path: Path) -> None:
    """A folder with both forms is opened with ONNX Runtime on a CPU, and with torch on request."""
    shutil.copytree(tiny("torch"), tmp_path / "both")
    shutil.copy(tiny("onnx") / "model.onnx", tmp_path / "both")
    folder = str(tmp_path / "both")
    assert ", onnx, " in repr(load_scorer(folder, device="cpu"))
    assert ", torch, " in repr(load_scorer(folder, engine="torch"))


@pytest.mark.parametrize("name", ["no/such/folder/here", "./nope", "~/nope", "a b", "owner/name/more"])
def test_a_path_that_does_not_exist_is_an_error(name: str) -> None:
    """A path that doesn't exist is an error without a request to the hub."""
    with pytest.raises(ModelNotFound, match="is none of these"):
        load_scorer(name)


@pytest.mark.parametrize("name", ["", "  ", None, 7])
def test_invalid_names_are_refused(name: object) -> None:
    """An empty name, or an object that is no name, is a configuration error with the value."""
    with pytest.raises(ConfigurationError, match=r"model must be a (bundled model|string)"):
        load_scorer(name)  # type: ignore[arg-type]


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    """An empty folder is an error that lists the files of a model."""
    with pytest.raises(ModelError, match=r"must hold model.onnx with tokenizer.json, or .*it is empty"):
        load_scorer(str(tmp_path))


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_pickles_are_never_opened(tiny: Tiny, tmp_path: Path, engine: str) -> None:
    """A checkpoint with only pickled weights is refused by name, with every engine."""
    shutil.copytree(tiny("torch"), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin.*never opened"):
        load_scorer(str(tmp_path / "pickled"), engine=engine)  # type: ignore[arg-type]


def test_a_missing_extra_prints_its_install_line(tiny: Tiny, without: Callable[[str], None]) -> None:
    """Without sentence-transformers the torch engine is an error with the command that installs it."""
    without("sentence_transformers")
    with pytest.raises(MissingExtra, match=r'pip install "secondpass\[torch\]"'):
        load_scorer(str(tiny("torch")))


def test_an_unknown_engine_is_refused(tiny: Tiny) -> None:
    """An unknown engine is an error that lists the engines."""
    with pytest.raises(ConfigurationError, match="engine must be one of auto, onnx, torch"):
        load_scorer(str(tiny("onnx")), engine="jax")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_missing_device_is_refused(tiny: Tiny, engine: str) -> None:
    """A GPU that this machine doesn't have is an error that names it."""
    with pytest.raises(DeviceError, match="cuda:7"):
        load_scorer(str(tiny(engine)), device="cuda:7")


def test_another_dtype_than_the_graphs_is_refused(tiny: Tiny) -> None:
    """An ONNX graph computes in the dtype of its export, and another one is an error."""
    with pytest.raises(
        DeviceError, match=r"dtype must be auto or float32, in which this ONNX graph computes, got 'float16'"
    ):
        load_scorer(str(tiny("onnx")), dtype="float16")


def test_a_damaged_graph_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A file that isn't an ONNX model is an error with its name."""
    shutil.copytree(tiny("onnx"), tmp_path / "damaged")
    (tmp_path / "damaged" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_scorer(str(tmp_path / "damaged"))


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_a_damaged_tokenizer_or_configuration_is_refused(tiny: Tiny, tmp_path: Path, file: str) -> None:
    """A broken tokenizer or configuration is an error that names the file."""
    shutil.copytree(tiny("onnx"), tmp_path / "damaged")
    (tmp_path / "damaged" / file).write_text("{")
    with pytest.raises(ModelError, match=file):
        load_scorer(str(tmp_path / "damaged"))


@pytest.mark.parametrize("name", list(ENGINES))
def test_the_install_command_names_an_existing_extra(tiny: Tiny, without: Callable[[str], None], name: str) -> None:
    """The extra named by a missing engine is one that the package declares, or the package itself."""
    without(ENGINES[name].package.replace("-", "_"))
    with pytest.raises(MissingExtra) as caught:
        load_scorer(str(tiny(name)), engine=name)  # type: ignore[arg-type]
    declared = importlib.metadata.metadata("secondpass").get_all("Provides-Extra") or []
    assert {extra for extra in declared if f"secondpass[{extra}]" in str(caught.value)} or (
        str(caught.value).endswith("pip install secondpass")
    )


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("max_length", [65, 7])
def test_a_length_out_of_range_is_refused(tiny: Tiny, engine: str, max_length: int) -> None:
    """A length beyond the model's 64 positions, or below 8, is an error with the range."""
    with pytest.raises(ModelError, match=f"max_length must be from 8 to 64 tokens, got {max_length}"):
        load_scorer(str(tiny(engine)), max_length=max_length)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_shorter_length_is_used(tiny: Tiny, engine: str) -> None:
    """With a length below the model's own, pairs are truncated to it, and the specification has it."""
    assert load_scorer(str(tiny(engine)), max_length=32).spec.max_tokens == 32


@pytest.mark.parametrize("dtype", ["auto", "int8"])
def test_the_dtype_of_an_int8_graph(dtype: str) -> None:
    """A bundled int8 model takes ``int8`` as its dtype, and reports it."""
    assert repr(load_scorer("nano", dtype=dtype)) == "CrossEncoder('nano', onnx, cpu, int8)"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_another_dtype_than_int8_is_refused(dtype: str) -> None:
    """An int8 graph computes in nothing else."""
    with pytest.raises(DeviceError, match=f"dtype must be auto or int8, .* got '{dtype}'"):
        load_scorer("nano", dtype=dtype)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_zero_threads_are_refused(tiny: Tiny, engine: str) -> None:
    """A forward pass needs at least one thread."""
    with pytest.raises(DeviceError, match="threads must be a whole number from 1"):
        load_scorer(tiny(engine), options=LoadOptions(threads=0))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_pinned_weights_are_checked(tiny: Tiny, engine: str) -> None:
    """Weights with the given SHA-256 load; others are refused before they are opened."""
    folder = tiny(engine)
    weights = next(folder.glob("model.onnx" if engine == "onnx" else "*.safetensors"))
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert load_scorer(folder, options=LoadOptions(sha256=sha256.upper()))
    with pytest.raises(ModelError, match=f"{weights.name} must have the SHA-256 0000, and has {sha256}"):
        load_scorer(folder, options=LoadOptions(sha256="0000"))


def test_the_limits_of_the_queue_are_options() -> None:
    """More pairs than may wait, and the time of a batch, are set where the model is loaded; wrong ones are refused."""
    scorer = load_scorer("nano", options=LoadOptions(max_queued_pairs=7, watchdog_seconds=5))
    assert isinstance(scorer, CrossEncoder)
    assert scorer._worker._queue._settings == WorkerSettings(7, 5)
    with pytest.raises(ConfigurationError, match="max_queued_pairs must be 1 or more"):
        LoadOptions(max_queued_pairs=0)

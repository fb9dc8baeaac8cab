"""Which ONNX file of a folder is opened."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondpass import LoadOptions, Pair, load_scorer
from secondpass.errors import ModelError
from secondpass.langchain import SecondPassRerank
from secondpass.models import files as model_files
from secondpass.models import onnx_variants
from secondpass.models.onnx_variants import choose_graph, needed_instructions

Tiny = Callable[..., Path]

SENTENCE_TRANSFORMERS = [  # what the repositories of cross-encoder/ms-marco-* hold
    "onnx/model.onnx",
    "onnx/model_O1.onnx",
    "onnx/model_O2.onnx",
    "onnx/model_O3.onnx",
    "onnx/model_O4.onnx",
    "onnx/model_qint8_arm64.onnx",
    "onnx/model_qint8_avx512.onnx",
    "onnx/model_qint8_avx512_vnni.onnx",
    "onnx/model_quint8_avx2.onnx",
]
TRANSFORMERS_JS = [  # what those for transformers.js hold, as of mxbai-rerank v1
    "onnx/model.onnx",
    "onnx/model_bnb4.onnx",
    "onnx/model_fp16.onnx",
    "onnx/model_int8.onnx",
    "onnx/model_q4.onnx",
    "onnx/model_quantized.onnx",
    "onnx/model_uint8.onnx",
]
CPUS = {
    "Zen 4": ["avx2", "avx512f", "avx512_vnni"],
    "Alder Lake": ["avx2", "avx_vnni"],
    "Skylake-X": ["avx2", "avx512f"],
    "Haswell": ["avx2"],
    "Graviton": ["arm64"],
    "unknown": [],
}


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """Return a model's folder whose two ONNX files have none of the usual names."""
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
        shutil.copyfile(tiny("onnx") / name, tmp_path / name)
    (tmp_path / "onnx").mkdir()
    shutil.copyfile(tiny("onnx") / "model.onnx", tmp_path / "onnx" / "model_O3.onnx")
    shutil.copyfile(tiny("onnx", variant="dynamic") / "model.onnx", tmp_path / "onnx" / "model_qint8_avx512.onnx")
    return tmp_path


def test_a_file_is_chosen_by_name(folder: Path) -> None:
    """``LoadOptions(file=...)`` opens that file, from Python and through an integration."""
    chosen = [
        load_scorer(folder, options=LoadOptions(file=f"onnx/{name}.onnx"))
        for name in ("model_O3", "model_qint8_avx512")
    ]
    assert [scorer.spec.batch_invariant for scorer in chosen] == [True, False]
    through = SecondPassRerank(model=folder, options=LoadOptions(file="onnx/model_qint8_avx512.onnx")).shared_reranker()
    assert through.scorer.spec.fingerprint == chosen[1].spec.fingerprint


def test_several_files_with_unknown_names_ask_for_a_choice(folder: Path) -> None:
    """Where no file has a known name and there are several, the error lists them and the option."""
    for name, other in (("model_O3", "first"), ("model_qint8_avx512", "second")):
        (folder / "onnx" / f"{name}.onnx").rename(folder / "onnx" / f"{other}.onnx")
    with pytest.raises(ModelError, match=r"one of onnx/first.onnx, onnx/second.onnx.*LoadOptions\(file=...\)"):
        load_scorer(folder)


def test_the_only_file_is_opened_whatever_its_name(folder: Path) -> None:
    """A folder with one ONNX file needs no choice, as FlashRank's folders have it."""
    (folder / "onnx" / "model_O3.onnx").unlink()
    (folder / "onnx" / "model_qint8_avx512.onnx").rename(folder / "flashrank-MiniLM-L-12-v2_Q.onnx")
    assert not load_scorer(folder).spec.batch_invariant


def test_a_usual_name_comes_before_others(folder: Path, tiny: Tiny) -> None:
    """``model.onnx`` is opened although other forms lie beside it."""
    shutil.copyfile(tiny("onnx") / "model.onnx", folder / "model.onnx")
    assert load_scorer(folder).spec.batch_invariant


def test_a_file_that_is_not_there_is_an_error(folder: Path) -> None:
    """A chosen file must exist."""
    with pytest.raises(ModelError, match=r"got onnx/other\.onnx"):
        load_scorer(folder, options=LoadOptions(file="onnx/other.onnx"))


@pytest.mark.parametrize(
    ("cpu", "variant"),
    [
        ("Zen 4", "qint8_avx512_vnni"),
        ("Alder Lake", "qint8_avx512_vnni"),
        ("Skylake-X", "qint8_avx512"),
        ("Haswell", "quint8_avx2"),
        ("Graviton", "qint8_arm64"),
        ("unknown", "quint8_avx2"),
    ],
)
def test_the_quantised_file_is_that_of_the_cpu(cpu: str, variant: str) -> None:
    """``dtype="int8"`` takes the file for the CPU's instruction set; an unknown CPU the one that saturates nowhere."""
    assert choose_graph(SENTENCE_TRANSFORMERS, "int8", CPUS[cpu]) == f"onnx/model_{variant}.onnx"


@pytest.mark.parametrize("cpu", CPUS)
def test_other_namings_are_known(cpu: str) -> None:
    """The names of transformers.js have one int8 file for every CPU; half-precision and 4-bit ones are never chosen."""
    assert choose_graph(TRANSFORMERS_JS, "int8", CPUS[cpu]) == "onnx/model_int8.onnx"
    assert choose_graph(["onnx/model_fp16.onnx", "onnx/model_q4.onnx"], "auto", CPUS[cpu]) is None


@pytest.mark.parametrize("cpu", CPUS)
def test_without_a_dtype_float_weights_come_first(cpu: str) -> None:
    """By default ``model.onnx`` is opened, whose scores are the model's own; without it an optimised float graph."""
    assert choose_graph(SENTENCE_TRANSFORMERS, "auto", CPUS[cpu]) == "onnx/model.onnx"
    assert choose_graph(SENTENCE_TRANSFORMERS[1:], "auto", CPUS[cpu]) == "onnx/model_O3.onnx"


def test_the_report_says_which_file_was_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The placement names the file and the instruction set that it is for."""
    monkeypatch.setattr(model_files, "instruction_sets", lambda: frozenset({"avx512f"}))
    opened = {
        dtype: load_scorer(folder, device="cpu", dtype=dtype).score_pairs([Pair("a", "b")]).stages[0].facts["placement"]
        for dtype in ("auto", "int8")
    }
    assert str(opened["auto"]).endswith("the graph computes in float32 (onnx/model_O3.onnx)")
    assert str(opened["int8"]).endswith("the graph computes in int8 (onnx/model_qint8_avx512.onnx, for avx512f)")


def test_the_instruction_set_in_a_name() -> None:
    """A file's name says which instructions it is for, if any."""
    assert needed_instructions("onnx/model_qint8_avx512_vnni.onnx") == "avx512_vnni"
    assert needed_instructions("model.onnx") == ""


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "sets"),
    [
        ("aarch64", "Features : asimd", {"arm64"}),
        ("x86_64", "model : 1\nflags\t\t: fpu avx2 avx512_vnni\n", {"fpu", "avx2", "avx512_vnni"}),
        ("AMD64", None, set()),
    ],
    ids=["ARM", "Linux", "a system without /proc"],
)
def test_the_cpu_is_read_from_the_system(
    machine: str, cpuinfo: str | None, sets: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instruction sets come from the machine's name and Linux's list of flags; elsewhere nothing is assumed."""

    def read(*_: object, **__: object) -> str:
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr(onnx_variants.platform, "machine", lambda: machine)
    monkeypatch.setattr(onnx_variants.Path, "read_text", read)
    onnx_variants.instruction_sets.cache_clear()
    try:
        assert onnx_variants.instruction_sets() == sets
    finally:
        onnx_variants.instruction_sets.cache_clear()


def test_weights_beside_the_graph_are_read(tiny: Tiny, tmp_path: Path) -> None:
    """A graph with its weights in ``model.onnx_data`` scores as the one that holds them; without them it is refused."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
        shutil.copyfile(tiny("onnx") / name, tmp_path / name)
    (tmp_path / "onnx").mkdir()
    model = onnx.load(tiny("onnx") / "model.onnx")
    onnx.save(
        model,
        tmp_path / "onnx" / "model.onnx",
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=64,
    )
    pair = [Pair("a cat", "the dog")]
    apart, whole = (load_scorer(at).score_pairs(pair).outcomes for at in (tmp_path, tiny("onnx")))
    assert apart == whole
    (tmp_path / "onnx" / "model.onnx_data").unlink()
    with pytest.raises(ModelError, match="onnxruntime can't open"):
        load_scorer(tmp_path)

"""Which ONNX file of a folder is opened."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondpass import LoadOptions, load_scorer
from secondpass.errors import ModelError
from secondpass.langchain import SecondPassRerank

Tiny = Callable[..., Path]


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
    through = SecondPassRerank(model=folder, file="onnx/model_qint8_avx512.onnx").shared_reranker()
    assert through.scorer.spec.fingerprint == chosen[1].spec.fingerprint


def test_several_files_without_a_usual_name_ask_for_a_choice(folder: Path) -> None:
    """Where no file has a usual name and there are several, the error lists them and the option."""
    with pytest.raises(ModelError, match=r"one of onnx/model_O3.onnx, onnx/model_qint8.*LoadOptions\(file=...\)"):
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

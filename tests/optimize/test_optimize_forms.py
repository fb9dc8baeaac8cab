"""What comes out of the optimiser: folders that load_scorer opens, with the scores of the checkpoint."""

import math
from pathlib import Path

import pytest

pytest.importorskip("onnxscript", reason="the extra train isn't installed")

import onnx
from optimize_worlds import LOOSE, other_checkpoint, some_pairs
from tiny_models import HIDDEN

from secondpass import load_scorer
from secondpass.optimize import OptimizeReport, optimize
from secondpass.records import Pair, Score

pytestmark = pytest.mark.slow


HELD_OUT = some_pairs(24, seed=1)


@pytest.fixture(scope="module")
def made(tiny_torch_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> OptimizeReport:
    """Both forms of a tiny BERT."""
    out = tmp_path_factory.mktemp("optimised") / "both"
    forms = ("int8", "float32")
    return optimize(tiny_torch_folder, out, calibration=some_pairs(40), held_out=HELD_OUT, forms=forms, settings=LOOSE)


def values(folder: Path, pairs: list[Pair], engine: str = "onnx") -> list[float]:
    """Return the score of each pair."""
    outcomes = load_scorer(str(folder), engine=engine).score_pairs(pairs).outcomes  # type: ignore[arg-type]
    return [outcome.value for outcome in outcomes if isinstance(outcome, Score)]


def test_both_forms_open_as_scorers(made: OptimizeReport) -> None:
    """Each form's folder is one that load_scorer opens, and says what it computes in and that batches don't matter."""
    scorers = [load_scorer(str(form.folder)) for form in made.forms]
    facts = [scorer.score_pairs(HELD_OUT[:2]).stages[0].facts for scorer in scorers]
    assert [fact["dtype"] for fact in facts] == ["float32", "int8"]
    assert [scorer.spec.batch_invariant for scorer in scorers] == [True, True]


def test_a_folder_holds_what_is_needed_and_nothing_else(made: OptimizeReport) -> None:
    """Graph, tokenizer and two small files: nothing is stored twice."""
    for form in made.forms:
        names = {file.name for file in form.folder.iterdir()}
        assert names == {"model.onnx", "tokenizer.json", "config.json", "tokenizer_config.json"}
        assert form.bytes == sum(file.stat().st_size for file in form.folder.iterdir())


def test_the_float_form_scores_as_the_checkpoint(made: OptimizeReport, tiny_torch_folder: Path) -> None:
    """Export and rewriting cost nothing but float32's noise."""
    wanted = values(tiny_torch_folder, HELD_OUT, "torch")
    assert values(made.forms[0].folder, HELD_OUT) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("form", "bound"), [(0, 1e-4), (1, 0.02)], ids=["float32", "int8"])
def test_a_score_is_free_of_its_batch(made: OptimizeReport, form: int, bound: float) -> None:
    """A pair scores the same alone as among longer strangers, with padding behind it."""
    folder = made.forms[form].folder
    strangers = some_pairs(12, seed=5)
    alone = [values(folder, [pair])[0] for pair in HELD_OUT[:8]]
    assert values(folder, [*strangers, *HELD_OUT[:8]])[12:] == pytest.approx(alone, abs=bound)


def test_the_report_has_the_measured_figures(made: OptimizeReport) -> None:
    """Differences, agreement and the batch's effect are those of the folders, form by form."""
    exact, whole = made.forms
    assert exact.mean_difference <= exact.largest_difference < 1e-4 < whole.mean_difference <= whole.largest_difference
    assert exact.agreement == 1.0
    assert (made.first_token_only, made.calibrated_on, made.verified_on) == (True, 40, 24)
    assert "int8: " in str(made)
    assert "agreement" in str(made)


def test_the_int8_graph_has_no_scale_from_the_batch_and_no_float_table(made: OptimizeReport) -> None:
    """Scales are constants, the word table is int8, and the operators are old enough for onnxruntime 1.20."""
    model = onnx.load(made.forms[1].folder / "model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "MatMulIntegerToFloat", "MultiHeadAttention"} <= kinds
    assert not {"DynamicQuantizeLinear", "DequantizeLinear", "Attention", "MatMul"} & kinds
    assert {item.domain: item.version for item in model.opset_import} == {"": 20, "com.microsoft": 1}
    real = [weight for weight in model.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT]
    assert max(math.prod(weight.dims) for weight in real) == HIDDEN * HIDDEN  # the pooler, and no table of words


@pytest.mark.parametrize(("architecture", "first_token_only"), [("roberta", True), ("modernbert", False)])
def test_other_architectures_come_out_as_well(tmp_path: Path, architecture: str, first_token_only: bool) -> None:
    """RoBERTa is shortened as BERT is; ModernBERT, with rotary positions and windows, keeps all of its last layer."""
    folder = other_checkpoint(tmp_path / "checkpoint", architecture)
    forms = ("float32", "int8")
    held_out = some_pairs(12, seed=1)
    report = optimize(
        folder, tmp_path / "out", calibration=some_pairs(12), held_out=held_out, forms=forms, settings=LOOSE
    )
    assert report.first_token_only is first_token_only
    assert report.forms[0].largest_difference < 1e-4
    assert [form.batch_effect for form in report.forms] == pytest.approx([0, 0], abs=1e-4)

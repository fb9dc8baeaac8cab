"""``optimize``: from a checkpoint to verified ONNX forms in a new folder."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secondpass.errors import ConfigurationError, LossTooHigh, checked
from secondpass.models.files import FORMS_FILE, find_model
from secondpass.models.hub import HubAccess
from secondpass.optimize.checkpoint import logits, open_checkpoint, use_first_token_layer
from secondpass.optimize.export import export_graph, write_model
from secondpass.optimize.quantization import quantize
from secondpass.optimize.verification import Bounds, Form, FormReport, spread_over_lengths, verify
from secondpass.records import Pair

FORMS: tuple[Form, ...] = ("float32", "int8")
"""In the order in which they are exported: int8 is computed from float32."""
FLOAT_BOUNDS = Bounds(mean_difference=1e-4, agreement=0.9999, batch_effect=1e-4)
INT8_BOUNDS = Bounds(mean_difference=0.03, agreement=0.975, batch_effect=0.02)
_HELD_OUT = 5  # without held-out pairs, the pairs of every fifth question are


@checked
@dataclass(frozen=True, slots=True)
class OptimizeSettings:
    """Advanced options of an optimisation.

    :param balance: Which share of a large activation moves into the weights, from 0 (nothing) to 1 (all of it).
    :param first_token_only: Whether the last layer may leave out what the model's head doesn't read.
    :param label: The output column that means "relevant", where the model's configuration leaves it open.
    :param float32: What the float32 form may lose.
    :param int8: What the int8 form may lose.
    :raises ConfigurationError: If ``balance`` isn't from 0 to 1.
    """

    balance: float = 0.75
    first_token_only: bool = True
    label: int | None = None
    float32: Bounds = FLOAT_BOUNDS
    int8: Bounds = INT8_BOUNDS

    def __post_init__(self) -> None:
        """Check the one number that has a range."""
        if not 0 <= self.balance <= 1:
            raise ConfigurationError(f"balance must be from 0 to 1, got {self.balance}")


DEFAULT_SETTINGS = OptimizeSettings()


@dataclass(frozen=True, slots=True)
class OptimizeReport:
    """The result of an optimisation.

    :param model: The checkpoint's name.
    :param forms: One report for each form, float32 first.
    :param first_token_only: Whether the last layer computes the first token alone.
    :param calibrated_on: The number of pairs that the int8 form's scales are fitted to.
    :param verified_on: The number of held-out pairs.
    """

    model: str
    forms: tuple[FormReport, ...]
    first_token_only: bool
    calibrated_on: int
    verified_on: int

    def __str__(self) -> str:
        """Return the figures, one line for each form."""
        return "\n".join((f"{self.model}, verified on {self.verified_on} pairs", *map(str, self.forms)))


def optimize(
    model: str | Path,
    out: str | Path,
    *,
    calibration: Sequence[Pair] | None = None,
    held_out: Sequence[Pair] | None = None,
    forms: Sequence[Form] = ("int8",),
    settings: OptimizeSettings = DEFAULT_SETTINGS,
) -> OptimizeReport:
    """Export a torch cross-encoder as ONNX, and measure what that changes.

    One form is written to ``out`` itself, several to ``out/int8`` and ``out/float32``; ``load_scorer(out)`` takes the
    fastest for the machine: int8 on a CPU, float32 on an accelerator. An interrupted run leaves no ``out``.

    :param model: A folder, or a hub id, that transformers opens as a sequence classifier, with safetensors weights.
    :param out: A new or an empty folder. It is written once every form has passed.
    :param calibration: Some hundred pairs like those to be scored, for the scales of the int8 form.
    :param held_out: Other pairs to verify on, with several texts for each question. None holds back those of
        every fifth question of ``calibration``.
    :param forms: ``"int8"``, ``"float32"``, or both.
    :param settings: Advanced options.
    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If the checkpoint is damaged, isn't a trained classifier, or can't be exported.
    :raises LossTooHigh: If a form loses more than ``settings`` allows.
    :raises ConfigurationError: If there are no pairs to calibrate or verify on, or ``out`` isn't empty.
    """
    unknown = sorted(set(forms) - set(FORMS))
    if unknown or not forms:
        raise ConfigurationError(f"forms must be {' or '.join(FORMS)}, got {', '.join(unknown) or 'none'}")
    ordered = sorted(set(forms), key=FORMS.index)
    fit, check = _split(calibration, held_out, ordered)
    folder = find_model(str(model), "torch", HubAccess())
    out = Path(out)
    with _new_folder(out) as staging:
        checkpoint = open_checkpoint(folder, settings.label)
        rows = logits(checkpoint.model, check)
        wanted = [checkpoint.head.value(row) for row in rows]
        sample = spread_over_lengths(check)
        first_token_only = settings.first_token_only and use_first_token_layer(
            checkpoint.model, [check[i] for i in sample], [rows[i] for i in sample]
        )
        graph = export_graph(checkpoint)
        reports = []
        for form in ordered:
            name = Path() if len(ordered) == 1 else Path(form)
            if form == "int8":
                quantize(graph, _of_several_lengths(checkpoint.equal_length_batches(fit)), settings.balance)
            write_model(staging / name, graph.model, checkpoint)
            report = verify(form, staging / name, check, wanted, settings.label)
            excess = report.excess(settings.int8 if form == "int8" else settings.float32)
            if excess:
                raise LossTooHigh(f"the {form} form loses too much: {excess}. Measured: {report}", report)
            reports.append(replace(report, folder=out / name))
        if len(ordered) > 1:
            (staging / FORMS_FILE).write_text(json.dumps({report.form: str(report) for report in reports}, indent=1))
    return OptimizeReport(folder.name(str(model)), tuple(reports), first_token_only, len(fit), len(check))


def _of_several_lengths(batches: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return calibration batches, each of one length.

    :raises ConfigurationError: If all have the same length: scales fitted to it may not hold for others.
    """
    listed = list(batches)
    lengths = {batch["input_ids"].shape[1] for batch in listed}
    if len(lengths) < 2:
        raise ConfigurationError(
            f"calibration pairs must have different lengths, like those to be scored; all have {min(lengths)} tokens"
        )
    return listed


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside ``out`` to write into; it becomes ``out`` if nothing is raised, and else is deleted.

    :raises ConfigurationError: If there is something at ``out`` already.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigurationError(f"out must be a new or an empty folder, and {out} is neither")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        staging = Path(beside) / "staging"
        staging.mkdir()
        yield staging
        if out.is_dir():
            out.rmdir()
        staging.replace(out)


def _split(
    calibration: Sequence[Pair] | None, held_out: Sequence[Pair] | None, forms: Sequence[Form]
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to fit scales to, and those to verify on."""
    fit, check = list(calibration or ()), list(held_out or ())
    if held_out is None:
        questions = dict.fromkeys(pair.query for pair in fit)
        held_back = set(list(questions)[::_HELD_OUT])
        check = [pair for pair in fit if pair.query in held_back]
        fit = [pair for pair in fit if pair.query not in held_back]
    if not fit and "int8" in forms:
        raise ConfigurationError("int8 needs calibration pairs: its scales are fixed beforehand, never by the batch")
    if len(set(check)) < 2:
        raise ConfigurationError("optimize needs held_out pairs, or calibration pairs of several questions")
    return fit, check

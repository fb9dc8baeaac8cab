"""The road from a checkpoint to a folder that was measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from secondpass.errors import ConfigurationError, LossTooHigh, ModelError
from secondpass.optimize.activations import measure_activations
from secondpass.optimize.checkpoint import Checkpoint, open_checkpoint
from secondpass.optimize.embeddings import quantise_embeddings
from secondpass.optimize.export import export_graph
from secondpass.optimize.first_token import FirstTokenLayer, last_layer, replace_last_layer
from secondpass.optimize.folders import new_folder, write_model
from secondpass.optimize.graphs import Graph
from secondpass.optimize.linear import linear_inputs, quantise_linears
from secondpass.optimize.records import DEFAULT_SETTINGS, FORMS, Form, FormReport, OptimizeReport, OptimizeSettings
from secondpass.optimize.verify import spread_over_lengths, verify
from secondpass.scores import Pair
from secondpass.scoring.model_files import HubAccess, find_model

_EXACT = 1e-5  # what float32 may differ by when it adds in another order, as a share of the largest score
_HELD_OUT = 5  # without held-out pairs, the pairs of every fifth question are


def optimize(
    model: str | Path,
    out: str | Path,
    *,
    calibration: Sequence[Pair] | None = None,
    held_out: Sequence[Pair] | None = None,
    forms: Sequence[Form] = ("int8",),
    settings: OptimizeSettings = DEFAULT_SETTINGS,
) -> OptimizeReport:
    """Turn a torch cross-encoder into ONNX files, and measure what that costs.

    One form becomes ``out`` itself, several become ``out/int8`` and ``out/float32``; ``load_scorer`` opens each.

    :param model: A folder, or a hub id, that transformers opens as a sequence classifier, with safetensors weights.
    :param out: A new or an empty folder. It comes to be once every form has passed.
    :param calibration: Pairs like those to come, some hundred, for the scales of the int8 form.
    :param held_out: Other pairs to verify on, with several texts a question. None holds back those of
        every fifth question of ``calibration``.
    :param forms: ``"int8"``, ``"float32"``, or both.
    :param settings: What few people need to say.
    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If the checkpoint is damaged, isn't a trained classifier, or can't be exported.
    :raises LossTooHigh: If a form loses more than ``settings`` allows.
    :raises ConfigurationError: If there are no pairs to calibrate or verify on, or ``out`` isn't empty.
    """
    forms = _checked(forms)
    fit, check = _split(calibration, held_out, forms)
    folder = find_model(str(model), "torch", HubAccess())
    out = Path(out)
    with new_folder(out) as made:
        checkpoint = open_checkpoint(folder, settings.label)
        wanted = checkpoint.scores(check)
        shortened = settings.first_token_only and shorten(checkpoint, check, wanted)
        graph = export_graph(checkpoint)
        reports = []
        for form in forms:
            where = Path() if len(forms) == 1 else Path(form)
            if form == "int8":
                quantise(graph, checkpoint, fit, settings.balance)
            write_model(made / where, graph.model, checkpoint)
            report = verify(form, made / where, check, wanted, settings.label)
            _refuse(report, settings)
            reports.append(replace(report, folder=out / where))
    return OptimizeReport(folder.name(str(model)), tuple(reports), shortened, len(fit), len(check))


def shorten(checkpoint: Checkpoint, pairs: Sequence[Pair], wanted: Sequence[float]) -> bool:
    """Let the last layer compute the first token alone, if the scores stay the same.

    :param checkpoint: An open checkpoint; its model is changed where that is exact.
    :param pairs: Pairs; at most 64 of them are scored again.
    :param wanted: Their scores.
    :return: Whether the model was changed.
    """
    last = last_layer(checkpoint.model)
    if last is None:
        return False
    replace_last_layer(checkpoint.model, FirstTokenLayer(last))
    sample = spread_over_lengths(pairs)
    scores = checkpoint.scores([pairs[position] for position in sample])
    bound = _EXACT * max(1.0, *map(abs, wanted))
    exact = all(abs(score - wanted[position]) <= bound for score, position in zip(scores, sample, strict=True))
    if not exact:
        replace_last_layer(checkpoint.model, last)
    return exact


def quantise(graph: Graph, checkpoint: Checkpoint, pairs: Sequence[Pair], balance: float) -> None:
    """Make a float graph an int8 one.

    :param graph: The graph; changed in place.
    :param checkpoint: What it was exported from.
    :param pairs: What the scales are fitted to.
    :param balance: How much of a large activation the weights take over, 0 to 1.
    :raises ModelError: If the graph has no linear layers.
    """
    names = linear_inputs(graph)
    if not names:
        raise ModelError(f"{type(checkpoint.model).__name__} has no linear layers that could be int8")
    batches = ({name: ids.numpy() for name, ids in batch.items()} for batch in checkpoint.equal_length_batches(pairs))
    quantise_linears(graph, measure_activations(graph, names, batches), balance)
    quantise_embeddings(graph)


def _refuse(report: FormReport, settings: OptimizeSettings) -> None:
    excess = report.excess(settings.bounds(report.form))
    if excess:
        raise LossTooHigh(f"the {report.form} form loses too much: {excess}. Measured: {report}", report)


def _checked(forms: Sequence[Form]) -> list[Form]:
    """Return the forms, float32 first: int8 is made of it."""
    unknown = sorted(set(forms) - set(FORMS))
    if unknown or not forms:
        raise ConfigurationError(f"forms must be {' or '.join(FORMS)}, got {', '.join(unknown) or 'none'}")
    return sorted(set(forms), key=FORMS.index)


def _split(
    calibration: Sequence[Pair] | None, held_out: Sequence[Pair] | None, forms: Sequence[Form]
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to fit scales to, and those to verify on."""
    fit = list(calibration or ())
    check = list(held_out or ())
    if held_out is None:
        questions = dict.fromkeys(pair.query for pair in fit)
        kept_back = set(list(questions)[::_HELD_OUT])
        check = [pair for pair in fit if pair.query in kept_back]
        fit = [pair for pair in fit if pair.query not in kept_back]
    if not fit and "int8" in forms:
        raise ConfigurationError("int8 needs calibration pairs: its scales are fixed beforehand, never by the batch")
    if len(set(check)) < 2:
        raise ConfigurationError("optimize needs held_out pairs, or calibration pairs of several questions")
    return fit, check

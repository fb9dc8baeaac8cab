"""What a distillation tells at its end, and the card that goes with the student."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

_CARD = Template(
    """---
license: $license
library_name: sentence-transformers
pipeline_tag: text-ranking
base_model: $base
tags: [cross-encoder, reranker, distillation, secondpass]
---
# $name

A cross-encoder with $layers layers, distilled from `$teacher`. It reads a question and a text together and gives one
logit: the higher, the more relevant.

```python
from secondpass import load_scorer

load_scorer("$name").score("how long does a flea live?", ["Adult fleas live for up to a year.", "Dogs bark."])
```
$notes
## Training

$pairs pairs of $groups questions, $steps steps; the checkpoint of step $best_step was the best on the validation data.
`manifest.json` has every setting, the hashes of the data, and the versions of the packages.

## Validation

$validation_groups questions that were not in the training data. Agreement is Kendall's tau-b between the student's and
the teacher's order of one question's texts, averaged over the questions.

| | teacher | student |
|---|---|---|
$measures

## int8

$int8
"""
)


@dataclass(frozen=True, slots=True)
class DistillReport:
    """What a distillation left, and how good it is.

    :param folder: Where the student is; ``load_scorer`` opens it.
    :param manifest: The content of its ``manifest.json``.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def measures(self) -> Mapping[str, float]:
        """The student's measures on the validation data."""
        measures: Mapping[str, float] = self.manifest["measures"]["student"]
        return measures

    @property
    def teacher_measures(self) -> Mapping[str, float]:
        """The teacher's own measures on the validation data; its agreement with itself is 1."""
        measures: Mapping[str, float] = self.manifest["measures"]["teacher"]
        return measures

    @property
    def refused(self) -> str | None:
        """Why there is no int8 form, with its figures, or None where it was accepted."""
        int8 = self.manifest["int8"]
        return None if int8["accepted"] else str(int8["reason"])

    @property
    def best_step(self) -> int:
        """The step whose checkpoint was kept."""
        return int(self.manifest["training"]["best_step"])


def card(manifest: Mapping[str, Any]) -> str:
    """Return the model card, in Markdown with the hub's front matter."""
    about, training, data = manifest["about"], manifest["training"], manifest["data"]
    measures = manifest["measures"]
    rows = [f"| {key} | {measures['teacher'][key]:.4f} | {value:.4f} |" for key, value in measures["student"].items()]
    notes = about["notes"].strip()
    return _CARD.substitute(
        name=about["name"],
        license=about["license"],
        base=manifest["base"]["name"],
        teacher=manifest["teacher"]["name"],
        layers=manifest["base"]["layers"],
        notes=f"\n{notes}\n" if notes else "",
        pairs=f"{data['train']['pairs']:,}",
        groups=f"{data['train']['groups']:,}",
        validation_groups=f"{data['validation']['groups']:,}",
        steps=f"{training['steps']:,}",
        best_step=f"{training['best_step']:,}",
        measures="\n".join(rows),
        int8=_describe_int8(manifest["int8"]),
    )


def _describe_int8(int8: Mapping[str, Any]) -> str:
    if not int8["accepted"]:
        return f"None: {int8['reason']}"
    return (
        f"`onnx/model.onnx`, {int8['bytes'] / 1e6:.1f} MB, with fixed activation scales: a score doesn't depend on its "
        f"batch (at most {int8['batch_effect']:.1e} logit). Against the float32 weights, on {int8['verified_on']} "
        f"pairs: {int8['mean_difference']:.3f} logit on average, {int8['largest_difference']:.3f} at most, and "
        f"{int8['agreement']:.2%} of all two texts of a question in the same order."
    )

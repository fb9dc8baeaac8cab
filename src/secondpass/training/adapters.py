"""Low-rank adapters (LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685) with peft, merged after training."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from sentence_transformers import CrossEncoder as Model
from torch import nn

from secondpass.errors import require
from secondpass.training.trainer import RowTrainer

_SCALE = 2  # alpha over rank, the usual choice


def add_adapters(model: Model, rank: int) -> Any:
    """Put an adapter on every linear layer, and let only these and the head be trained.

    peft changes the layers in place. Checkpoints hold all weights, so that they need no other folder to be opened.

    :param model: The model; changed in place.
    :param rank: The adapters' rank.
    :return: peft's model, which ``merge`` takes.
    :raises MissingExtra: If peft isn't installed.
    """
    require("LoRA", "lora", "peft")
    from peft import LoraConfig, LoraModel

    backbone = f"{model.model.base_model_prefix}."
    layers = [
        name
        for name, module in model.model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(backbone)
    ]
    config = LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules=layers)
    adapted = LoraModel(model.model, config, "default")
    for name, weight in model.model.named_parameters():
        if not name.startswith(backbone):
            weight.requires_grad_(requires_grad=True)
    return adapted


def merge(adapted: Any) -> None:
    """Add the adapters to the weights of their layers, and remove them."""
    adapted.merge_and_unload()


class AdapterTrainer(RowTrainer):
    """Opens checkpoints with adapters, whose layers have other names than a model without them."""

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        weights: dict[str, Any] = {}
        for file in Path(checkpoint_path).glob("*.safetensors"):
            weights |= load_file(file)
        self.model.model.load_state_dict(weights)

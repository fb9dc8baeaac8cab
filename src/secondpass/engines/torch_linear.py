"""Faster float32 linear layers on a processor: oneDNN over weights that were laid out for it once.

torch's own float32 linear goes to a BLAS library, which on some processors reaches less than half of what oneDNN does
with packed weights (211 against 485 GFLOP/s for 1024 rows of 384 on two cores of an AVX-512 processor by AMD;
`benchmarks/linear_layers.py` measures it). The operators are those that torch's own compiler uses for frozen models.
They aren't part of torch's public interface, so they are tried out before they are trusted.
"""

import torch
from torch import nn

_TOLERANCE = 1e-4


class PackedLinear(nn.Module):
    """An ``nn.Linear`` for inference, with its weight in oneDNN's own layout.

    :param linear: The layer to take over; float32, on the CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.weight = torch.empty_like(
            linear.weight, device="meta", requires_grad=False
        )  # some models look at its dtype

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``rows @ weight.T + bias``, for rows of shape (..., in_features)."""
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return result


def pack_linears(model: nn.Module) -> int:
    """Replace the model's float32 linear layers by packed ones, in place; return how many were replaced.

    Nothing is replaced where this torch has no such operators or they don't give what ``nn.Linear`` gives.
    """
    if not _works():
        return 0
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and child.weight.dtype is torch.float32 and child.weight.device.type == "cpu"
    ]
    tied = _tied_weights(model)
    replaced = 0
    for parent, name, child in found:
        if id(child.weight) not in tied and not child._forward_hooks and not child._forward_pre_hooks:
            setattr(parent, name, PackedLinear(child))
            replaced += 1
    return replaced


def _works() -> bool:
    if not torch._C._has_mkldnn or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    with torch.inference_mode():
        linear, rows = nn.Linear(48, 32), torch.linspace(-1, 1, 7 * 48).reshape(7, 48)
        try:
            difference = (PackedLinear(linear)(rows) - linear(rows)).abs().max()
        except (RuntimeError, NotImplementedError, AttributeError):
            return False
    return bool(difference < _TOLERANCE)


def _tied_weights(model: nn.Module) -> set[int]:
    """Return the weights that several modules share: packing one of them would only double it."""
    seen: set[int] = set()
    tied: set[int] = set()
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            (tied if id(weight) in seen else seen).add(id(weight))
    return tied

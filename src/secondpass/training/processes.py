"""The processes that share a run, one a device, as ``torchrun`` starts them."""

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Return what is known of them; alone, a process is the main one.

    accelerate joins the processes of a machine without an accelerator only where it is told so: otherwise none of them
    would wait for another.
    """
    return PartialState(cpu=not torch.accelerator.is_available())

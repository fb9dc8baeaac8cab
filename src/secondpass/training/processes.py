"""The processes that share a run, one a device, as ``torchrun`` starts them."""

from datetime import timedelta

import torch
from accelerate import PartialState

_PATIENCE = timedelta(days=7)  # while one of them asks the teacher for every score, the others wait


def processes() -> PartialState:
    """Return what is known of them; alone, a process is the main one.

    accelerate joins the processes of a machine without an accelerator only where it is told so: otherwise none of them
    would wait for another.
    """
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)

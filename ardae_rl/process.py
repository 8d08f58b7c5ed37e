"""What every process that trains does once, before the first tensor."""

import torch


def prepare_training_process() -> None:
    """Flush denormal floats to zero: score networks on scaled inputs produce them in bulk, and many CPUs are slow on them."""
    torch.set_flush_denormal(True)

"""What processes do for themselves: once before the first tensor, after work that took much memory, and when their parent dies."""

import ctypes
import platform
import signal

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_KEPT_BYTES = 2**28
_PR_SET_PDEATHSIG = 1  # of prctl(2): the signal a process gets when its parent dies
_LIBC = ctypes.CDLL(None)


def prepare_training_process() -> None:
    """Flush denormal floats, which score networks on scaled inputs make in bulk, to zero, and keep the memory of freed tensors."""
    import torch  # not at the top: the process that drives a sweep has no use for it

    torch.set_flush_denormal(True)
    if (libc := _glibc()) is not None:
        # Activations of tens of megabytes come and go many times a step; by default glibc gives them back and the kernel zeroes them anew.
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def return_freed_memory() -> None:
    """Give the kernel back what is free: after work that needs far more memory than training does, once in a while."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def end_with_parent() -> None:
    """Have this process get SIGTERM when the one that started it dies, however that happens. Linux only."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _glibc() -> ctypes.CDLL | None:
    return _LIBC if platform.libc_ver()[0] == "glibc" else None

"""What preparing a training process changes, each in a fresh process: the settings last as long as the process."""

import platform
import subprocess
import sys

import pytest

# Pages (of 4 KiB) that the kernel has to provide while 32 MiB are taken and freed twenty times.
_FAULTS = """
import resource, torch
{prepare}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work(): torch.empty(2**23).fill_(1.0)
for _ in range(20): work()  # until the heap is large enough
before = faults()
for _ in range(20): work()
print(faults() - before)
"""
_DENORMAL = "import torch\n{prepare}\nprint(int((torch.full((64,), 1e-30) * 1e-10).count_nonzero()))"
_PREPARE = "from ardae_rl.process import prepare_training_process; prepare_training_process()"


def _printed(script: str) -> int:
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told how to treat freed memory")
def test_freed_memory_is_used_again() -> None:
    assert _printed(_FAULTS.format(prepare="")) > 20 * 512  # even in pages of 64 KiB, or what a first call of the allocator may keep
    assert _printed(_FAULTS.format(prepare=_PREPARE)) < 1000


def test_denormal_numbers_become_zero() -> None:
    assert _printed(_DENORMAL.format(prepare="")) == 64
    assert _printed(_DENORMAL.format(prepare=_PREPARE)) == 0

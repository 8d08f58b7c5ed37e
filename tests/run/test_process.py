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
# MiB that stay resident of 7 x 32 after they were freed, before and after giving them back.
_RESIDENT = """
import torch
from ardae_rl.run.process import prepare_training_process, return_freed_memory
prepare_training_process()
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20
start = resident()
work = [torch.empty(2**23).fill_(1.0) for _ in range(7)]
del work
kept = resident() - start
return_freed_memory()
print(kept * 10_000 + max(0, resident() - start))
"""
_DENORMAL = "import torch\n{prepare}\nprint(int((torch.full((64,), 1e-30) * 1e-10).count_nonzero()))"
_PREPARE = "from ardae_rl.run.process import prepare_training_process; prepare_training_process()"


def _printed(script: str) -> int:
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told how to treat freed memory")
def test_freed_memory_is_used_again() -> None:
    assert _printed(_FAULTS.format(prepare="")) > 20 * 512  # even in pages of 64 KiB, or what a first call of the allocator may keep
    assert _printed(_FAULTS.format(prepare=_PREPARE)) < 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told how to treat freed memory")
def test_freed_memory_can_be_given_back() -> None:
    kept, left = divmod(_printed(_RESIDENT), 10_000)
    assert kept > 150
    assert left < 50


def test_denormal_numbers_become_zero() -> None:
    assert _printed(_DENORMAL.format(prepare="")) == 64
    assert _printed(_DENORMAL.format(prepare=_PREPARE)) == 0

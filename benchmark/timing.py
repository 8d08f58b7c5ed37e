"""How a time is taken: in a fresh process, the contenders one after the other and round and round, the median of several calls."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import torch
from rich.progress import track

from ardae_rl.run.process import end_with_parent, prepare_training_process

P = ParamSpec("P")
T = TypeVar("T")

FLOAT32 = {"compiled": False, "autocast": False}
COMPILED = {"compiled": True, "autocast": False}
BFLOAT16 = {"compiled": True, "autocast": True}
OURS: dict[str, dict[str, Any]] = {"float32": FLOAT32, "float32, compiled": COMPILED, "bfloat16 autocast, compiled": BFLOAT16}


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module-level function in a new process: flushing of denormals, thread pools and Ray start from scratch and go with it.

    If this process is killed, so is the new one: what it times would keep a core busy for minutes more.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(function, *args, **kwargs).result()


def variants(naive: Callable[..., T], ours: Callable[..., T], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Callable[..., T]]:
    """The naive one as a plain script would run, denormals not flushed, and flushed as the library does; ours with each of the options."""
    flushing = {"naive": False, "naive, denormals flushed": True}
    naives = {name: partial(naive, flush_denormal=flush) for name, flush in flushing.items()}
    return {**naives, **{f"ardae-rl, {name}": partial(ours, **each) for name, each in options.items()}}


def measured(measures: Mapping[str, Callable[..., T]], what: str, *, repeats: int, seed: int, **options: Any) -> dict[str, list[T]]:
    """What each gives in a fresh process, ``repeats`` times: a slow spell of the machine hits all of them."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for i, name in track([(i, name) for i in range(repeats) for name in measures], what, transient=True):
        found[name].append(in_fresh_process(measures[name], seed=seed + i, **options))
    return found


def prepare(seed: int, threads: int, *, flush_denormal: bool) -> None:
    """Before any work: worker threads of torch inherit the flushing mode of the thread that starts them."""
    torch.set_flush_denormal(flush_denormal)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)


def prepare_ours(seed: int, threads: int) -> None:
    """As a trial of the library does."""
    prepare_training_process()
    prepare(seed, threads, flush_denormal=True)


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def median_seconds(update: Callable[[], object], *, warmup: int, updates: int) -> float:
    for _ in range(warmup):
        update()
    seconds = []
    for _ in range(updates):
        start = time.perf_counter()
        update()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)

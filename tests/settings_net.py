"""What a net of tests over settings needs: all fields by name, one of them changed, and a fingerprint of what came of it."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

Settings = TypeVar("Settings")


def leaves(settings: Any, prefix: str = "") -> set[str]:
    """Names of all fields, those of settings within settings as ``outer.inner``."""
    names: set[str] = set()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        names |= leaves(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else {prefix + field.name}
    return names


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A copy with these fields, named as :func:`leaves` does, set; those of one inner settings at once, for they are checked together."""
    own = {name: value for name, value in changes.items() if "." not in name}
    for outer in {name.partition(".")[0] for name in changes if "." in name}:
        inner = {name.partition(".")[2]: value for name, value in changes.items() if name.startswith(f"{outer}.")}
        own[outer] = changed(own.get(outer, getattr(settings, outer)), inner)
    return dataclasses.replace(settings, **own)  # type: ignore[type-var]


def fingerprint(value: Any) -> str:
    """The same for equal nested dictionaries and lists of tensors and plain values; NaN equals NaN."""
    return hashlib.sha256("".join(_described(value)).encode()).hexdigest()


def _described(value: Any) -> list[str]:
    if isinstance(value, torch.Tensor):
        return [str(tuple(value.shape)), hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return [part for name in value for part in (f"{name}:", *_described(value[name]))]
    if isinstance(value, list | tuple):
        return [part for each in value for part in _described(each)] + [f"({len(value)})"]
    return [repr(value)]

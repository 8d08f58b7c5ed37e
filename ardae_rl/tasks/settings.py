"""Checks that the settings of several tasks make of their fields. Plain data: no torch, no Ray."""


def positive(owner: object, *names: str) -> None:
    """Raise ValueError, beginning with the field's name, for the first of these fields that is not greater than 0 (or is NaN)."""
    for name in names:
        value = getattr(owner, name)
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value!r}")


def one_of(owner: object, name: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError, beginning with the field's name, where the field is none of ``allowed``."""
    if getattr(owner, name) not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(owner, name)!r}")


def at_least(owner: object, least: int, *names: str) -> None:
    """Raise ValueError, beginning with the field's name, for the first of these fields that is less than ``least`` (or is NaN)."""
    for name in names:
        value = getattr(owner, name)
        if not value >= least:
            raise ValueError(f"{name} must be {least} or greater, got {value!r}")

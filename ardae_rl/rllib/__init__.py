"""SAC-AR-DAE on Ray RLlib's new API stack."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ardae_rl.rllib.algorithm import SACARDAE, SACARDAEConfig

__all__ = ["SACARDAE", "SACARDAEConfig"]


def __getattr__(name: str) -> Any:
    """Import Ray only when it is asked for: ``ardae_rl.rllib.settings`` is plain data."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ardae_rl.rllib import algorithm

    return getattr(algorithm, name)

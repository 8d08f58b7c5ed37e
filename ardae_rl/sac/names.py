"""What the field calls a soft actor-critic: by its policy and where its entropy comes from. Whoever adds one of them names it here."""

from collections.abc import Mapping
from typing import Any

AR_DAE = "SAC-AR-DAE"
NAMES = {
    ("gaussian", "density"): "SAC",
    ("flow (radial)", "density"): "SAC-NF",
    ("flow (spline)", "density"): "SAC-NSF",
    ("implicit", "ardae"): AR_DAE,
}
"""A policy's first entry has the source of its entropy where the settings choose none."""

VARIANTS = [f"{plus}{clamping}" for plus in ("", " plus") for clamping in (" without clamping", "")]
METHODS = [name + variant for name in NAMES.values() for variant in (VARIANTS if name == AR_DAE else [""])]
"""In the order of tables: baselines first."""


def method_name(sac: Mapping[str, Any]) -> str:
    """Of ``config.sac`` as a record holds it; what has no name is shown by its own keys.

    Of SAC-AR-DAE "plus": other coordinates of the score than the paper's.
    """
    policy = f"flow ({sac['flow']['kind']})" if sac["policy"] == "flow" else str(sac["policy"])
    usual = next((source for known, source in NAMES if known == policy), None)
    entropy = sac.get("entropy") or usual
    name = NAMES.get((policy, entropy or ""), ", ".join(filter(None, (policy, entropy))))
    if name != AR_DAE:
        return name
    plus = "" if sac["score"]["standardisation"] == "fixed" else " plus"
    return name + plus + ("" if sac["jacobian_clamping"] else " without clamping")

"""A method has the name of the field, or its own; never another's."""

import dataclasses
from typing import Any, get_args, get_type_hints

import pytest

from ardae_rl.sac import FlowPolicyConfig, JacobianClampingConfig, SACConfig, ScoreConfig
from ardae_rl.sac.names import METHODS, NAMES, method_name

CLAMPED = SACConfig(jacobian_clamping=JacobianClampingConfig())
PAPERS = dataclasses.replace(CLAMPED, score=ScoreConfig(standardisation="fixed"))


@pytest.mark.parametrize(
    ("sac", "name"),
    [
        (SACConfig(policy="gaussian"), "SAC"),
        (SACConfig(policy="flow"), "SAC-NF"),
        (SACConfig(policy="flow", flow=FlowPolicyConfig(kind="spline")), "SAC-NSF"),
        (PAPERS, "SAC-AR-DAE"),
        (dataclasses.replace(PAPERS, jacobian_clamping=None), "SAC-AR-DAE without clamping"),
        (CLAMPED, "SAC-AR-DAE plus"),
        (SACConfig(), "SAC-AR-DAE plus without clamping"),
    ],
)
def test_a_method_is_named_by_its_settings(sac: SACConfig, name: str) -> None:
    assert method_name(dataclasses.asdict(sac)) == name and name in METHODS


@pytest.mark.parametrize("policy", get_args(get_type_hints(SACConfig)["policy"]))
def test_every_policy_that_can_be_chosen_has_a_name(policy: Any) -> None:
    assert method_name(dataclasses.asdict(SACConfig(policy=policy))) in METHODS


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"policy": "mixture"}, "mixture"),
        ({"policy": "mixture", "entropy": "ardae"}, "mixture, ardae"),
        ({"policy": "gaussian", "entropy": "ardae"}, "gaussian, ardae"),
        ({"policy": "implicit", "entropy": "adversarial"}, "implicit, adversarial"),
        ({"policy": "flow", "flow": {"kind": "planar"}}, "flow (planar)"),
        ({"policy": "gaussian", "entropy": "density"}, "SAC"),
    ],
)
def test_what_has_no_name_is_shown_by_its_own_keys(changed: dict[str, Any], name: str) -> None:
    assert method_name(dataclasses.asdict(SACConfig()) | changed) == name


def test_names_are_told_apart() -> None:
    assert len(set(NAMES.values())) == len(NAMES) and len(set(METHODS)) == len(METHODS)

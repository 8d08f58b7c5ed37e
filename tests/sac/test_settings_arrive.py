"""Every setting of SAC that is not the estimator's (``tests/test_score_settings.py``) changes what three updates lead to.

What a change leads to is said elsewhere; here no setting may be lost on its way.
"""

import dataclasses
from typing import Any

import pytest

from ardae_rl.sac import JacobianClampingConfig, NonFiniteError, SACConfig, ScoreConfig
from tests.sac.problem import POLICIES, PolicyName, make_batch, make_config, make_sac
from tests.settings_net import changed, fingerprint, leaves

GAUSSIAN, RADIAL, SPLINE = ({"policy": "gaussian"}, {"policy": "flow"}, {"policy": "flow", "flow.kind": "spline"})
CLAMPED = {"jacobian_clamping.eta": 50.0}
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "policy": ({}, "gaussian"),
    "implicit.noise_dim": ({}, 5),
    "implicit.encoder_layers": ({}, 2),
    "implicit.head_layers": ({}, 3),
    "implicit.width": ({}, 12),
    "implicit.head_width": ({}, 5),
    "implicit.activation": ({}, "tanh"),
    "implicit.initialisation": ({}, "released"),
    "gaussian.hidden_layers": (GAUSSIAN, 3),
    "gaussian.width": (GAUSSIAN, 12),
    "gaussian.log_std_min": (GAUSSIAN, 0.5),
    "gaussian.log_std_max": (GAUSSIAN, -0.5),
    "flow.kind": (RADIAL, "spline"),
    "flow.flows": (RADIAL, 3),
    "flow.bins": (SPLINE, 5),
    "flow.hidden_layers": (SPLINE, 1),
    "flow.width": (SPLINE, 12),
    "critic.hidden_layers": ({}, 3),
    "critic.width": ({}, 12),
    "jacobian_clamping.xi": (CLAMPED, 0.5),
    "jacobian_clamping.eta": (CLAMPED, 20.0),
    "jacobian_clamping.nu": (CLAMPED, 3.0),
    "jacobian_clamping.perturbations": (CLAMPED, 3),
    "jacobian_clamping.weight_max": (CLAMPED, 0.5),
    "alpha": ({}, 0.5),
    "initial_alpha": ({"alpha": "auto"}, 0.3),
    "target_entropy": ({"alpha": "auto"}, 7.0),
    "gamma": ({}, 0.5),
    "tau": ({}, 0.5),
    "policy_delay": ({}, 2),
    "actor_lr": ({}, 1e-2),
    "flow_lr": (RADIAL, 1e-2),
    "critic_lr": ({}, 1e-2),
    "alpha_lr": ({"alpha": "auto"}, 1e-2),
    "target_calibration": ({}, True),
}
ELSEWHERE = {"max_non_finite": "seen below", "entropy": "seen below", "critic.kind": "there is one"}


def outcome(changes: dict[str, Any]) -> str:
    """Of three updates: all weights, all buffers and every metric."""
    learner = make_sac(changed(make_config(jacobian_clamping=JacobianClampingConfig()), changes))
    metrics = [learner.update(make_batch(6, seed=seed)) for seed in range(3)]
    return fingerprint([learner.policy.state_dict(), learner.networks.state_dict(), metrics])


def test_no_setting_is_without_a_case() -> None:
    estimators = {f"score.{field.name}" for field in dataclasses.fields(ScoreConfig)}
    assert set(CASES) | set(ELSEWHERE) == leaves(SACConfig(jacobian_clamping=JacobianClampingConfig())) - estimators


@pytest.mark.parametrize("name", CASES)
def test_a_setting_changes_the_outcome(name: str) -> None:
    base, value = CASES[name]
    assert outcome(base) == outcome(base) != outcome(base | {name: value})


@pytest.mark.parametrize("policy", POLICIES)
def test_any_policy_can_have_its_entropy_from_any_estimator(policy: PolicyName) -> None:
    """Each another outcome; a density only where there is one."""
    names: list[Any] = ["ardae", "adversarial", "sliced_score_matching"] + (["density"] if policy != "implicit" else [])
    found = []
    for name in names:
        learner = make_sac(make_config(policy, entropy=name))
        found.append(fingerprint([learner.update(make_batch(6, seed=seed)) for seed in range(2)]))
        assert all(value.isfinite() for value in learner.update(make_batch(6)).values())
    assert len(set(found)) == len(names)


@pytest.mark.parametrize(("policy", "entropy"), [("implicit", "density"), ("gaussian", "auxiliary"), ("implicit", "auxiliary")])
def test_a_source_that_the_policy_does_not_serve_is_refused(policy: Any, entropy: Any) -> None:
    with pytest.raises(ValueError, match=f"entropy must be .*, got '{entropy}'"):
        SACConfig(policy=policy, entropy=entropy)


def test_without_clamping_the_policy_goes_another_way() -> None:
    assert outcome(CLAMPED) != outcome({"jacobian_clamping": None})


@pytest.mark.parametrize("most", [1, 4])
def test_as_many_lost_steps_in_a_row_as_set_are_the_end(most: int) -> None:
    learner, batch = make_sac(make_config("gaussian", max_non_finite=most)), make_batch()
    batch.rewards[0] = float("nan")
    for _ in range(most - 1):
        learner.update(batch)
    with pytest.raises(NonFiniteError, match=f"not finite {most} times in a row"):
        learner.update(batch)

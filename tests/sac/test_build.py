"""From a config to networks: the shapes of Table 7, the right entropy, the right step sizes."""

import pytest
import torch

from ardae_rl.entropy import DensityEntropy, ScoreEntropy
from ardae_rl.sac import FlowPolicyConfig, GaussianPolicyConfig, ImplicitPolicyConfig, ScoreConfig, build_policy
from ardae_rl.samplers import GaussianSampler, ImplicitSampler, RadialFlowSampler, SplineFlowSampler
from ardae_rl.score import build_estimator
from ardae_rl.score.networks import GaussianResidual, PotentialNet
from tests.sac.problem import make_config, make_sac


@pytest.mark.parametrize(("context_layers", "input_layers"), [(5, 5), (1, 0), (0, 0)])
def test_encoders_of_the_score_network_are_those_of_table_7(context_layers: int, input_layers: int) -> None:
    """m_enc 5, 1 and 0: both encoded, the state only, neither; m_fc = 5 hidden layers once they have met."""
    estimator = build_estimator(
        "ardae", 6, 17, ScoreConfig(layers=5, context_layers=context_layers, input_layers=input_layers, width=256, anchors=0)
    )
    assert isinstance(estimator.network, GaussianResidual) and isinstance(estimator.network.network, PotentialNet)
    body = estimator.network.network.body
    assert [layer.in_features for layer in body.context_encoder] == [17, 256, 256, 256, 256][:context_layers]
    assert [layer.in_features for layer in body.input_encoder] == [6, 256, 256, 256, 256][:input_layers]
    assert body.from_context is not None
    assert body.from_context.in_features == (256 if context_layers else 17)
    assert body.from_input.in_features == (256 if input_layers else 6)
    assert 1 + len(body.joint) == 5


def test_the_policy_decides_where_entropy_comes_from() -> None:
    gaussian, implicit = make_sac(make_config("gaussian")), make_sac(make_config("implicit"))
    assert isinstance(gaussian.policy, GaussianSampler) and isinstance(gaussian.entropy, DensityEntropy)
    assert isinstance(implicit.policy, ImplicitSampler) and isinstance(implicit.entropy, ScoreEntropy)
    assert set(gaussian.optimisers) == {"critic", "actor"}
    assert set(implicit.optimisers) == {"critic", "actor", "score"}


def test_each_optimiser_has_its_own_step_size() -> None:
    sac = make_sac(make_config(alpha="auto", actor_lr=1e-1, critic_lr=1e-2, score=ScoreConfig(lr=1e-3, beta1=0.4), alpha_lr=1e-4))
    rates = {name: optimiser.optimiser.param_groups[0]["lr"] for name, optimiser in sac.optimisers.items()}
    assert rates == {"actor": 1e-1, "critic": 1e-2, "score": 1e-3, "temperature": 1e-4}
    betas = {name: optimiser.optimiser.param_groups[0]["betas"] for name, optimiser in sac.optimisers.items()}
    assert betas.pop("score") == (0.4, 0.999) and set(betas.values()) == {(0.9, 0.999)}


def test_a_flow_stands_on_the_gaussian_and_has_a_step_size_of_its_own() -> None:
    sac = make_sac(make_config("radial", actor_lr=1e-1, flow_lr=1e-2))
    assert isinstance(sac.policy, RadialFlowSampler) and isinstance(sac.entropy, DensityEntropy)
    rates = {id(p): group["lr"] for group in sac.optimisers["actor"].optimiser.param_groups for p in group["params"]}
    assert {name: rates[id(p)] for name, p in sac.policy.named_parameters() if ".layers." not in name} == {
        "flow.centres": 1e-2,
        "flow.raw_alpha": 1e-2,
        "flow.raw_stretch": 1e-2,
    }
    assert {rates[id(p)] for p in sac.policy.base.parameters()} == {1e-1}


def test_every_flow_setting_reaches_the_policy() -> None:
    flow = FlowPolicyConfig(kind="spline", flows=4, bins=6, hidden_layers=3, width=24)
    policy = build_policy(5, 2, make_config("spline", flow=flow))
    assert isinstance(policy, SplineFlowSampler) and policy.base.body.layers[0].out_features == 16
    assert len(policy.flow.transforms) == 4
    widths = [layer.out_features for layer in policy.flow.transforms[0].hyper if hasattr(layer, "out_features")]
    assert widths == [24, 24, 24, 2 * (6 + 6 + 5)]
    radial = build_policy(5, 2, make_config("radial", flow=FlowPolicyConfig(flows=5)))
    assert isinstance(radial, RadialFlowSampler) and radial.flow.centres.shape == (5, 2)


def test_less_noise_than_actions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_dim must be at least the dimension 6 of a sample, got 4"):
        build_policy(17, 6, make_config(implicit=ImplicitPolicyConfig(noise_dim=4)))


def test_counts_are_whole_numbers_for_single_precision_stops_counting_at_2_to_the_24() -> None:
    networks = make_sac(make_config()).networks
    assert networks.calibration_count.dtype == networks.num_updates.dtype == torch.int64


def test_a_range_of_one_log_std_is_refused() -> None:
    with pytest.raises(ValueError, match="log_std_min must be below log_std_max = 1"):
        GaussianPolicyConfig(log_std_min=1.0, log_std_max=1.0)

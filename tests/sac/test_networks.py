"""Twin critics are two critics; the temperature is positive."""

import pytest
import torch
from torch import nn

from ardae_rl.sac.critics.twin import TwinCritic
from ardae_rl.sac.temperature import Temperature

pytestmark = pytest.mark.usefixtures("float64")


def test_each_critic_is_a_rectified_network_of_state_and_action() -> None:
    twin, obs, action = TwinCritic(3, 2, hidden_layers=2, width=16), torch.randn(5, 3), torch.randn(5, 2)
    for value, critic in zip(twin(obs, action), (twin.first, twin.second), strict=True):
        h = torch.cat([obs, action], -1)
        layers = [layer for layer in critic.layers if isinstance(layer, nn.Linear)]
        assert len(layers) == 3
        for layer in layers[:-1]:
            h = (h @ layer.weight.t() + layer.bias).clamp(min=0)
        torch.testing.assert_close(value, (h @ layers[-1].weight.t() + layers[-1].bias).squeeze(-1))


def test_critics_share_nothing() -> None:
    twin = TwinCritic(3, 2, width=16)
    values = twin(torch.randn(5, 3), torch.randn(5, 2))
    assert not torch.isclose(values[0], values[1]).any()
    for index, (own, other) in enumerate([(twin.first, twin.second), (twin.second, twin.first)]):
        assert not any(grad.any() for grad in torch.autograd.grad(values[index].sum(), list(other.parameters()), retain_graph=True))
        assert all(grad.any() for grad in torch.autograd.grad(values[index].sum(), list(own.parameters()), retain_graph=True))


def test_fixed_critics_pass_gradients_to_the_action_alone() -> None:
    twin, action = TwinCritic(3, 2, width=16), torch.randn(5, 2, requires_grad=True)
    obs = torch.randn(5, 3)
    values = twin(obs, action, fixed=True)
    torch.testing.assert_close(values, twin(obs, action))
    values.sum().backward()
    assert action.grad is not None and action.grad.any()
    assert all(parameter.grad is None for parameter in twin.parameters())


@pytest.mark.parametrize("alpha", [0.0, 0.05, 1.0, 7.0])
def test_temperature_is_what_it_was_set_to(alpha: float) -> None:
    torch.testing.assert_close(Temperature(alpha, learned=False)(), torch.tensor(alpha))


def test_a_learned_temperature_is_a_parameter_and_a_fixed_one_is_not() -> None:
    assert len(list(Temperature(0.2, learned=True).parameters())) == 1
    assert not list(Temperature(0.2, learned=False).parameters())
    assert "log_alpha" in Temperature(0.2, learned=False).state_dict()
    assert not Temperature(0.2, learned=True)().requires_grad
